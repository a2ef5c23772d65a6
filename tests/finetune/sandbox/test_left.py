"""A process of a sandbox leaves links and pipes where files should be: nothing of the worker's is
read or written through them, and no reader waits on them."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from faults import OurFault
from finetune.records.check.child import run_in_child
from finetune.records.check.spec import CheckSpec
from finetune.sandbox.left import opened, require_plain
from finetune.sandbox.levels import Level
from finetune.services.runs.tail import EventTail
from finetune.storage import store_file
from tests.conftest import ROOT
from tests.finetune.sandbox import leaves

SECRET = "the master key"


@pytest.fixture
def secret(tmp_path: Path) -> Path:
    path = tmp_path / "secrets"
    path.mkdir()
    (path / "master.json").write_text(SECRET)
    return path


def a_link(path: Path, secret: Path) -> None:
    path.symlink_to(secret / "master.json")


def a_pipe(path: Path, secret: Path) -> None:
    os.mkfifo(path)


def a_link_above(path: Path, secret: Path) -> None:
    path.parent.rmdir()
    path.parent.symlink_to(secret)


@pytest.mark.parametrize("left", [a_link, a_pipe, a_link_above])
def test_a_folder_with_anything_but_files_is_not_touched(
    left: Callable[[Path, Path], None], secret: Path, tmp_path: Path
) -> None:
    run = tmp_path / "run"
    (run / "result").mkdir(parents=True)
    (run / "base").symlink_to(secret)  # ours
    require_plain(run)
    left(run / "result" / "metrics.csv", secret)
    with pytest.raises(OurFault) as fault:
        require_plain(run)
    assert fault.value.code == "unclean_folder"


@pytest.mark.parametrize("left", [a_link, a_pipe])
def test_nothing_is_stored_or_read_through_it_while_the_process_runs(
    left: Callable[[Path, Path], None], secret: Path, tmp_path: Path
) -> None:
    left(tmp_path / "events.jsonl", secret)
    stored: Any = None  # it never comes so far
    for touch in (
        lambda path: store_file(stored, "checkpoint", path),
        lambda path: EventTail(path).read(),
    ):
        with pytest.raises(OurFault) as fault:
            touch(tmp_path / "events.jsonl")
        assert fault.value.code == "unclean_folder"
    with opened(secret / "master.json") as file:
        assert file.read().decode() == SECRET


def test_a_check_that_was_taken_over_takes_no_file_of_the_worker_along(
    secret: Path, tmp_path: Path
) -> None:
    with pytest.raises(OurFault) as fault:
        run_in_child(
            leaves.__name__,
            "check",
            CheckSpec(source=secret / "master.json", source_name="rows.jsonl"),
            tmp_path / "out",
            read=(ROOT / "tests",),
            leaves=(),
            memory_mb=512,
            seconds=60,
            progress=None,
            level=Level.NAMESPACES,
        )
    assert fault.value.code == "unclean_folder"
    assert (tmp_path / "out" / "rows.jsonl").read_text() == SECRET, "or it would show nothing"
