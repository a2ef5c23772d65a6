"""What the demo does around the main job: a clean folder, the causes of failures, memory."""

import subprocess
import sys
from pathlib import Path

import pytest

from privatune.demo.memory import MemoryWatch
from privatune.demo.stack import DemoFailed, Stack, clear
from privatune.stack.folder import FolderLock
from tests.fixtures.waiting import until


def test_an_earlier_demos_data_is_removed(tmp_path: Path) -> None:
    data = tmp_path / "data"
    (data / "work").mkdir(parents=True)
    clear(data)
    clear(data)  # and nothing there is as good
    assert not data.exists()


def test_data_that_a_stack_still_uses_stays(tmp_path: Path) -> None:
    data = tmp_path / "data"
    lock = FolderLock(data)
    with pytest.raises(DemoFailed, match="is in use by process"):
        clear(data)
    assert data.exists()
    lock.release()


def test_a_failing_operator_command_gives_its_cause(tmp_path: Path) -> None:
    with pytest.raises(DemoFailed, match=r"tenant create.*failed:\n.*"):
        Stack(tmp_path, {}).operate("tenant", "create")


def test_memory_counts_what_children_hold(tmp_path: Path) -> None:
    watch = MemoryWatch(tmp_path)
    before = watch.now_mb()
    code = "held = bytearray(b'x' * 200 * 2**20); print('ready', flush=True); input()"
    with subprocess.Popen(
        [sys.executable, "-c", code], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as child:
        assert child.stdout is not None
        child.stdout.readline()
        assert watch.now_mb() - before > 190
        with watch:
            until(lambda: watch.peak_mb > 190, "what it holds was not seen")
        child.communicate(b"\n")
    assert watch.peak_mb > 190
