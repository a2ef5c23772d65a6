"""Private folders: whose, how long, and what becomes of those of the dead."""

import stat
import subprocess
import sys
from pathlib import Path

import pytest

from finetune.workspace import (
    PLACE,
    NotOurs,
    in_use,
    private_folder,
    remove_leftovers,
    remove_older_leftovers,
)

NAME = "0f8fad5b-d9cb-469f-a165-70867728950e-1"
HOLDER = """
import sys, time
from pathlib import Path
from finetune.workspace import private_folder
with private_folder(Path(sys.argv[1]), sys.argv[2]) as folder:
    (folder / "rows.jsonl").write_text("secret")
    print(folder, flush=True)
    time.sleep(60)
"""


def test_a_folder_is_this_users_only_and_gone_afterwards(tmp_path: Path) -> None:
    with private_folder(tmp_path / "work", NAME) as folder:
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
        (folder / "rows.jsonl").write_text("secret")
    assert in_use(tmp_path / "work") == []


def test_it_is_gone_also_after_a_failure_and_links_in_it_are_not_followed(tmp_path: Path) -> None:
    weights = tmp_path / "weights"
    weights.mkdir()
    (weights / "model").write_text("shared")

    def fail() -> None:
        with private_folder(tmp_path / "work", NAME) as folder:
            (folder / "base").symlink_to(weights)
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail()
    assert in_use(tmp_path / "work") == []
    assert (weights / "model").read_text() == "shared"


def test_leftovers_of_the_dead_are_removed_and_those_of_the_living_are_not(tmp_path: Path) -> None:
    holders = [
        subprocess.Popen(
            [sys.executable, "-c", HOLDER, str(tmp_path), NAME], stdout=subprocess.PIPE, text=True
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
    assert in_use(tmp_path) == []


def test_a_folder_without_a_lock_is_nobodys(tmp_path: Path) -> None:
    with private_folder(tmp_path, NAME):
        old = tmp_path / PLACE / f"check-{NAME[:-2]}-0123abcd"
        old.mkdir()
        (old / "rows.jsonl").write_text("secret")
    assert remove_leftovers(tmp_path) == [old.name]
    assert in_use(tmp_path) == []


def test_what_others_keep_in_the_work_folder_stays(tmp_path: Path) -> None:
    """The sweep emptied a folder that held another program's database."""
    with private_folder(tmp_path, NAME):
        pass
    strangers = [
        tmp_path / "otherapp" / "data.db",
        tmp_path / f"{NAME}-0123abcd" / "data.db",  # our kind of name, outside our place
        tmp_path / PLACE / "otherapp" / "data.db",
        tmp_path / PLACE / "run-old" / "data.db",
        tmp_path / PLACE / f"{NAME}-0123abcd.bak" / "data.db",
        tmp_path / "otherapp.lock" / "data.db",
    ]
    for path in strangers:
        path.parent.mkdir(parents=True)
        path.write_text("theirs")
    assert remove_leftovers(tmp_path) == []
    assert [path.read_text() for path in strangers] == ["theirs"] * len(strangers)


def test_a_place_of_our_name_without_our_mark_is_neither_used_nor_swept(tmp_path: Path) -> None:
    stranger = tmp_path / PLACE / f"{NAME}-0123abcd" / "data.db"
    stranger.parent.mkdir(parents=True)
    stranger.write_text("theirs")
    assert remove_leftovers(tmp_path) == []
    with pytest.raises(NotOurs, match="did not make"), private_folder(tmp_path, NAME):
        pass
    assert stranger.read_text() == "theirs"


def test_no_work_folder_yet_is_no_error(tmp_path: Path) -> None:
    assert remove_leftovers(tmp_path / "absent") == []


def test_what_an_older_version_left_in_a_data_folder_goes_and_nothing_else(tmp_path: Path) -> None:
    """It held a customer's rows in the clear, and the newer sweep looks elsewhere."""
    run = NAME.removesuffix("-1")
    old = tmp_path / f"{run}-3-0123abcd"
    old.mkdir()
    (old / "train.jsonl").write_text("a customer's words")
    (tmp_path / f"{old.name}.lock").touch()
    kept = [tmp_path / "somebody-elses", tmp_path / str(run)]
    for folder in kept:
        folder.mkdir()
    assert remove_leftovers(tmp_path) == []  # as before
    assert remove_older_leftovers(tmp_path) == [old.name]
    assert sorted(tmp_path.iterdir()) == sorted(kept)
