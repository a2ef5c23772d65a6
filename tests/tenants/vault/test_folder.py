"""The folder backend where it meets the operating system: modes, full disks, killed writers."""

import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from tenants.vault.errors import BadKey, ObjectMissing, StorageDown, StorageFull
from tenants.vault.stores.folder import FolderStore
from tests.tenants.vault.test_store import get, put

WRITE_AND_WAIT = """
import sys, time
from tenants.vault.stores.opening import open_store
with open_store(sys.argv[1]).write("tenant/half") as writer:
    for _ in range(24):
        writer.write(bytes(1 << 20))
    print("written", flush=True)
    time.sleep(60)
"""


def kill_while_writing(url: str) -> None:
    """Start a process that writes `tenant/half`, and kill it before it is done."""
    child = subprocess.Popen(
        [sys.executable, "-c", WRITE_AND_WAIT, url], stdout=subprocess.PIPE, env=os.environ.copy()
    )
    assert child.stdout is not None
    assert child.stdout.readline() == b"written\n"
    child.send_signal(signal.SIGKILL)
    child.wait()
    child.stdout.close()


def test_files_and_folders_are_for_their_owner_only(folder_store: FolderStore) -> None:
    previous = os.umask(0)
    try:
        put(folder_store, "tenant/files/one", b"1")
    finally:
        os.umask(previous)
    modes = {
        path.relative_to(folder_store.root).as_posix(): stat.S_IMODE(path.stat().st_mode)
        for path in folder_store.root.rglob("*")
    }
    assert modes == {
        ".partial": 0o700,
        "tenant": 0o700,
        "tenant/files": 0o700,
        "tenant/files/one": 0o600,
    }
    assert stat.S_IMODE(folder_store.root.stat().st_mode) == 0o700


def test_a_full_disk_is_named_and_leaves_nothing(small_disk: Path) -> None:
    store = FolderStore(small_disk / "objects")
    put(store, "small", b"fits")
    with pytest.raises(StorageFull, match="objects is full"):
        put(store, "large", bytes(2 << 20))
    assert list(store.list()) == ["small"]
    assert get(store, "small") == b"fits"
    assert list((store.root / ".partial").iterdir()) == []
    put(store, "next", b"there is room again")


def test_a_full_disk_that_the_writer_ignores_is_still_no_object(small_disk: Path) -> None:
    store = FolderStore(small_disk / "objects")

    def write() -> None:
        with store.write("holed") as writer, pytest.raises(StorageFull):
            writer.write(bytes(2 << 20))

    with pytest.raises(StorageFull):
        write()
    assert list(store.list()) == []


def test_a_killed_writer_leaves_no_object_and_the_sweep_cleans(folder_store: FolderStore) -> None:
    kill_while_writing(f"file://{folder_store.root}")
    assert list(folder_store.list()) == []
    assert folder_store.sweep_partial(older_than_s=3600) == 0, "too young to be called abandoned"
    assert folder_store.sweep_partial(older_than_s=0) == 1
    assert list((folder_store.root / ".partial").iterdir()) == []


def test_the_sweep_spares_a_writer_that_lives(folder_store: FolderStore) -> None:
    with folder_store.write("alive") as writer:
        writer.write(b"half")
        assert FolderStore(folder_store.root).sweep_partial(older_than_s=0) == 0
        writer.write(b"whole")
    assert get(folder_store, "alive") == b"halfwhole"


def test_a_root_that_vanished_is_a_storage_that_is_down(folder_store: FolderStore) -> None:
    put(folder_store, "one", b"1")
    shutil.rmtree(folder_store.root)
    for use in (
        folder_store.health,
        lambda: folder_store.open("one"),
        lambda: folder_store.size("one"),
        lambda: list(folder_store.list()),
        lambda: put(folder_store, "two", b"2"),
    ):
        with pytest.raises(StorageDown):
            use()
    assert not folder_store.root.exists(), "an unmounted disk must not be replaced by a folder"


def test_one_object_cannot_be_the_folder_of_another(folder_store: FolderStore) -> None:
    put(folder_store, "a", b"1")
    with pytest.raises(BadKey):
        put(folder_store, "a/b", b"2")
    put(folder_store, "c/d", b"3")
    with pytest.raises(BadKey):
        put(folder_store, "c", b"4")
    assert sorted(folder_store.list()) == ["a", "c/d"]


def test_what_is_no_file_is_no_object(folder_store: FolderStore) -> None:
    """A pipe in its place kept whoever read it waiting for ever, and a server's thread with it."""
    put(folder_store, "tenant/one", b"1")
    (folder_store.root / "tenant/one").unlink()
    os.mkfifo(folder_store.root / "tenant/one")
    for use in (folder_store.open, folder_store.size):
        with pytest.raises(ObjectMissing):
            use("tenant/one")


def test_deleting_a_folder_of_objects_deletes_none(folder_store: FolderStore) -> None:
    put(folder_store, "tenant/files/one", b"1")
    folder_store.delete("tenant/files")
    assert list(folder_store.list()) == ["tenant/files/one"]


def test_deleting_the_last_object_of_a_tenant_leaves_no_trace_of_it(
    folder_store: FolderStore,
) -> None:
    put(folder_store, "tenant/files/one", b"1")
    folder_store.delete("tenant/files/one")
    assert [path.name for path in folder_store.root.iterdir()] == [".partial"]


def test_writers_and_deleters_of_one_folder_do_not_trip_each_other(
    folder_store: FolderStore,
) -> None:
    failures: list[BaseException] = []

    def work(name: str) -> None:
        try:
            for _ in range(60):
                put(folder_store, f"tenant/files/{name}", name.encode())
                assert get(folder_store, f"tenant/files/{name}") == name.encode()
                folder_store.delete(f"tenant/files/{name}")
        except BaseException as error:
            failures.append(error)

    threads = [threading.Thread(target=work, args=(f"t{number}",)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert failures == []
    assert list(folder_store.list()) == []
