"""Private folders: whose, how long, and what becomes of those of the dead."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.workspace import private_folder, remove_leftovers

HOLDER = """
import sys, time
from pathlib import Path
from finetune.workspace import private_folder
with private_folder(Path(sys.argv[1]), "run") as folder:
    (folder / "rows.jsonl").write_text("secret")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_this_users_only_and_gone_afterwards(tmp_path: Path) -> None:
    with private_folder(tmp_path / "work", "run-1") as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "rows.jsonl").write_text("secret")
    assert list((tmp_path / "work").iterdir()) == []


def test_it_is_gone_also_after_a_failure_and_links_in_it_are_not_followed(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model").write_text("shared")

    def fail() -> None:
        with private_folder(tmp_path / "work", "run") as folder:
            (folder / "base").symlink_to(weights)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert list((tmp_path / "work").iterdir()) == []
    assert (weights / "model").read_text() == "shared"


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path)], stdout=subprocess.PIPE, text=True
        )
        for _ in range(2)
    ]
    try:
        folders = [Path(holder.stdout.readline().strip()) for holder in holders if holder.stdout]
        holders[0].kill()
        holders[0].wait()
        assert folders[0].exists()
        assert remove_leftovers(tmp_path) == [folders[0].name]
        assert not folders[0].exists()
        assert (folders[1] / "rows.jsonl").exists()
    finally:
        for holder in holders:
            holder.kill()
            holder.wait()
    assert remove_leftovers(tmp_path) == [folders[1].name]
    assert list(tmp_path.iterdir()) == []


def test_a_folder_without_a_lock_is_nobodys(tmp_path: Path) -> None:
    (tmp_path / "run-old").mkdir()
    (tmp_path / "run-old" / "rows.jsonl").write_text("secret")
    assert remove_leftovers(tmp_path) == ["run-old"]
    assert list(tmp_path.iterdir()) == []


def test_no_work_folder_yet_is_no_error(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "absent") == []
