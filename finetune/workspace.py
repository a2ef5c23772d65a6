"""Private folders for plaintext: this user's only, locked while in use, removed at the end.

A lock that is free belongs to a process that is dead (the kernel lets go of it), so whatever a
killed worker left behind can be told from what is in use, on this machine.

All of it lies in one subfolder that carries our mark, under names that only we give: a folder that
the operator named by mistake may hold somebody else's work, and the sweep removes.
"""

import errno
import fcntl
import os
import re
import secrets
import shutil
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

LOCK = ".lock"
REMOVE_TRIES, REMOVE_PAUSE_SECONDS = 20, 0.1
PLACE = "privatune-work"
MARK = ".made-by-privatune"
_UUID = "[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
OURS = re.compile(f"(?:{_UUID}-[0-9]+|check-{_UUID})-[0-9a-f]{{8}}")


@contextmanager
def private_folder(work_dir: Path, name: str) -> Iterator[Path]:
    """`<name>-<random>/` (0700) in our place of `work_dir`; gone with all in it when the block
    ends, however it ends.

    The lock stands beside the folder and lives longer than it: no folder is ever without one.
    ValueError for a name that the sweep would not know; NotOurs.
    """
    folder = _our_place(work_dir) / f"{name}-{secrets.token_hex(4)}"
    if not OURS.fullmatch(folder.name):
        raise ValueError(f"{name!r} is no name that the sweep would know")
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
    """Removes our folders whose processes are dead; returns their names. Nothing else is touched:
    no other name, nothing outside our place, and not the place of somebody else."""
    place = work_dir / PLACE
    if place.is_symlink() or not (place / MARK).is_file():
        return []
    return _sweep(place)


def remove_older_leftovers(work_dir: Path) -> list[str]:
    """What an older version's killed worker left beside our place: plaintext. Only for a `work_dir`
    that Privatune made itself (a data folder's), and only under our names."""
    return _sweep(work_dir) if work_dir.is_dir() and not work_dir.is_symlink() else []


def _sweep(place: Path) -> list[str]:
    removed = []
    for path in sorted(place.iterdir()):
        if not OURS.fullmatch(path.name.removesuffix(LOCK)):
            continue
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


def in_use(work_dir: Path) -> list[str]:
    """Names of our folders and locks, of the living and of the dead."""
    place = work_dir / PLACE
    return sorted(each.name for each in place.glob("*") if each.name != MARK)


class NotOurs(OSError):
    """A folder of our name that we did not make."""


def _our_place(work_dir: Path) -> Path:
    """The marked subfolder, made when absent. Raises NotOurs for one that others filled."""
    place = work_dir / PLACE
    place.mkdir(mode=0o700, parents=True, exist_ok=True)
    mark = place / MARK
    if not mark.exists():
        if place.is_symlink() or any(each.name != MARK for each in place.iterdir()):
            raise NotOurs(f"{place} holds something that Privatune did not make; move it away.")
        mark.write_text("Privatune's private folders; whatever a dead process left is removed.\n")
    return place


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
