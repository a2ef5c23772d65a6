"""Private folders for plaintext: this user's only, locked while in use, removed at the end.

A lock that is free belongs to a process that is dead (the kernel lets go of it), so whatever a
killed worker left behind can be told from what is in use, on this machine.
"""

import errno
import fcntl
import os
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
REMOVE_TRIES, REMOVE_PAUSE_SECONDS = 20, 0.1


@contextmanager
def private_folder(work_dir: Path, name: str) -> Iterator[Path]:
    """`work_dir/<name>-<random>/` (0700), gone with all in it when the block ends, however it ends.

    The lock stands beside the folder and lives longer than it: no folder is ever without one.
    """
    work_dir.mkdir(mode=0o700, parents=True, exist_ok=True)
    folder = work_dir / f"{name}-{secrets.token_hex(4)}"
    lock = folder.with_name(folder.name + LOCK)
    descriptor = _hold(lock)
    try:
        folder.mkdir(mode=0o700)
        yield folder
    finally:
        _remove(folder)
        lock.unlink(missing_ok=True)
        os.close(descriptor)


def remove_leftovers(work_dir: Path) -> list[str]:
    """Removes the folders whose processes are dead; returns their names."""
    removed = []
    for path in sorted(work_dir.glob("*")):
        is_lock = path.name.endswith(LOCK)
        folder = path.with_name(path.name.removesuffix(LOCK)) if is_lock else path
        lock = folder.with_name(folder.name + LOCK)
        if not is_lock and lock.exists():
            continue  # its lock comes by in this loop too
        with _if_free(lock) as free:
            if free and (folder.exists() or is_lock):
                _remove(folder)
                lock.unlink(missing_ok=True)
                removed.append(folder.name)
    return removed


def _hold(lock: Path) -> int:
    """Creates and locks the file; again if a sweep removed it between the two."""
    while True:
        descriptor = os.open(lock, os.O_RDWR | os.O_CREAT, 0o600)
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        with suppress(FileNotFoundError):
            if os.stat(lock).st_ino == os.fstat(descriptor).st_ino:
                return descriptor
        os.close(descriptor)


@contextmanager
def _if_free(lock: Path) -> Iterator[bool]:
    """True, and the lock held for the block, when nobody alive holds it."""
    try:
        descriptor = os.open(lock, os.O_RDWR)
    except FileNotFoundError:
        yield True
        return
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
    else:
        yield True
    finally:
        os.close(descriptor)


def _remove(folder: Path) -> None:
    """Links inside (the base's weights) are removed, never followed.

    A process that is being killed may write a last file while we are at it: then again.
    """
    if not folder.is_dir() or folder.is_symlink():
        folder.unlink(missing_ok=True)
        return
    for _ in range(REMOVE_TRIES):
        try:
            shutil.rmtree(folder)
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise
            time.sleep(REMOVE_PAUSE_SECONDS)
        else:
            return
    shutil.rmtree(folder)
