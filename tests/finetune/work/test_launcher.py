"""What the launcher says when its processes fail. What they can see: tests/finetune/sandbox."""

import json
from pathlib import Path
from typing import Any

import pytest

from faults import OurFault
from finetune.sandbox.levels import require
from finetune.work import launcher
from finetune.work.launcher import launch_packaging, probe_machine


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
