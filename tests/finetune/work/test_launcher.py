"""What the launcher says when its processes fail, and what they compute with. What they can see:
tests/finetune/sandbox."""

import json
from pathlib import Path
from typing import Any

import pytest

from faults import OurFault
from finetune.sandbox.levels import Level, require
from finetune.sandbox.room import Room
from finetune.sandbox.start import start_loaded
from finetune.work import launcher
from finetune.work.launcher import LOADED, launch_packaging, probe_machine, scrubbed_environment


def test_packaging_that_fails_says_so_by_code_and_file(tmp_path: Path) -> None:
    base = tmp_path / "base"
    base.mkdir()
    child = launch_packaging(
        tmp_path, base_dir=base, key=b"no key", threads=1, level=require("require")
    )
    assert child.process.wait() == 70
    assert json.loads((tmp_path / "error.json").read_bytes())["code"] == "signing_key"


def test_a_machine_that_cannot_be_probed_says_why(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not by a base that is none: a processor without bf16 does not even look at it."""
    start = launcher.start_loaded

    def start_short(level: Any, room: Any, module: str, arguments: list[str], **more: Any) -> Any:
        return start(level, room, module, arguments[:1], **more)

    monkeypatch.setattr(launcher, "start_loaded", start_short)
    with pytest.raises(OurFault, match=r"could not be probed: IndexError: list index"):
        probe_machine("causal_lm", tmp_path, tmp_path, threads=1, rows=1, level=require("require"))


def test_of_one_process_that_has_loaded_each_is_forked_with_its_own_number_of_threads(
    tmp_path: Path,
) -> None:
    said, zygotes = [], set()
    for threads in (3, 1, 2):
        folder = tmp_path / str(threads)
        folder.mkdir()
        with (folder / "said").open("wb") as told:
            child = start_loaded(
                Level.NONE,
                Room(),
                "tests.finetune.work.threads",
                [],
                loaded=LOADED,
                cwd=folder,
                environment=scrubbed_environment(folder, threads=threads),
                stdout=told,
            )
        assert child.process.wait() == 0
        child.kill()
        *threads_there, zygote = json.loads((folder / "said").read_text())
        said.append(threads_there)
        zygotes.add(zygote)
    assert said == [[3] * 3, [1] * 3, [2] * 3]
    assert len(zygotes) == 1
