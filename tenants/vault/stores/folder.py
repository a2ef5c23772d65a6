"""Objects as files under one root: written beside, synced, then renamed into place.

A partial write lies in `.partial/` under a lock that dies with its writer.
"""

import errno
import fcntl
import os
import stat
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

from faults.disk import is_full
from tenants.vault.errors import BadKey, ObjectMissing, StorageDown, StorageFull, VaultError
from tenants.vault.stores.contract import DAY, Writer, check_key, check_prefix

_MISSING = {errno.ENOENT, errno.ENOTDIR}


class FolderStore:
    """A store in a folder that it owns; everything in it is readable by this user only."""

    def __init__(self, root: str | os.PathLike[str]) -> None:
        self.root = Path(root).absolute()
        self._partial = self.root / ".partial"
        with self._explained():
            self.root.mkdir(0o700, parents=True, exist_ok=True)

    @contextmanager
    def write(self, key: str) -> Iterator[Writer]:
        target = self.root / check_key(key)
        with self._temporary() as (path, descriptor):
            writer = _FileWriter(self, descriptor)
            yield writer
            if writer.error is not None:  # swallowed by the caller; a hole must not be published
                raise writer.error
            with self._explained(key):
                os.fsync(descriptor)
                self._move_into_place(path, target)

    def open(self, key: str) -> BinaryIO:
        with self._explained(key, reading=True):
            # Opening a pipe that was laid there would wait for ever
            number = os.open(self.root / check_key(key), os.O_RDONLY | os.O_NONBLOCK)
        if stat.S_ISREG(os.fstat(number).st_mode):
            return open(number, "rb")
        os.close(number)
        raise ObjectMissing(key)

    def size(self, key: str) -> int:
        with self._explained(key, reading=True):
            status = (self.root / check_key(key)).stat()
        if not stat.S_ISREG(status.st_mode):
            raise ObjectMissing(key)
        return status.st_size

    def delete(self, key: str) -> None:
        path = self.root / check_key(key)
        with self._explained(key), suppress(FileNotFoundError, NotADirectoryError):
            if not path.is_dir():  # a folder is no object
                path.unlink()
                _sync_folder(path.parent)
                self._prune(path.parent)

    def list(self, prefix: str = "", older_than_s: float = 0) -> Iterator[str]:
        folder = check_prefix(prefix).rpartition("/")[0]
        for parent, folders, files in os.walk(self.root / folder, onerror=self._listing_failed):
            folders[:] = [name for name in folders if not name.startswith(".")]
            base = Path(parent).relative_to(self.root)
            for name in files:
                key = (base / name).as_posix()
                if key.startswith(prefix) and _is_old(self.root / key, older_than_s):
                    yield key

    def health(self) -> None:
        with self._temporary() as (_, descriptor):
            _FileWriter(self, descriptor).write(bytes(4096))
            with self._explained():
                os.fsync(descriptor)

    def sweep_partial(self, older_than_s: float = DAY) -> int:
        swept = 0
        before = time.time() - older_than_s
        for path in list(self._partial.glob("*")):
            with self._explained(), suppress(FileNotFoundError), open(path, "rb") as file:
                if os.fstat(file.fileno()).st_mtime <= before and _lock(file.fileno()):
                    path.unlink()
                    swept += 1
        return swept

    @contextmanager
    def _temporary(self) -> Iterator[tuple[Path, int]]:
        """A new file (0600) under a lock that spares it from the sweep; gone at the end."""
        path = self._partial / uuid.uuid4().hex
        with self._explained():
            self._make_folder(self._partial)
            descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            _lock(descriptor)
            yield path, descriptor
        finally:
            with suppress(OSError):  # renamed by now, or left to the sweep
                path.unlink()
            os.close(descriptor)

    def _make_folder(self, path: Path) -> None:
        """Make the folder below the root and its parents (0700), each durable in its parent."""
        if path == self.root or path.is_dir():
            return  # a root that vanished is an unmounted disk: never made again here
        self._make_folder(path.parent)
        with suppress(FileExistsError):
            path.mkdir(0o700)
            _sync_folder(path.parent)

    def _move_into_place(self, temporary: Path, target: Path) -> None:
        with self._folders(fcntl.LOCK_SH):  # between these two calls none may be pruned
            self._make_folder(target.parent)
            os.replace(temporary, target)
        with suppress(FileNotFoundError):  # deleted already, and its folder with it
            _sync_folder(target.parent)

    def _prune(self, folder: Path) -> None:
        """Remove folders that are now empty: a deleted tenant leaves no trace of its id."""
        with self._folders(fcntl.LOCK_EX), suppress(OSError):
            while folder != self.root:
                folder.rmdir()
                folder = folder.parent

    @contextmanager
    def _folders(self, lock: int) -> Iterator[None]:
        """The tree of folders, shared among writers or for a pruner alone; across processes."""
        self._make_folder(self._partial)
        with _opened(self._partial) as descriptor:
            fcntl.flock(descriptor, lock)
            yield

    def _listing_failed(self, error: OSError) -> None:
        if error.errno not in _MISSING or not self.root.is_dir():
            raise StorageDown(str(self.root), error) from error

    @contextmanager
    def _explained(self, key: str = "", *, reading: bool = False) -> Iterator[None]:
        """Turn the operating system's errors into ours."""
        try:
            yield
        except OSError as error:
            raise self._explain(error, key, reading) from error

    def _explain(self, error: OSError, key: str = "", reading: bool = False) -> VaultError:
        if is_full(error):
            return StorageFull(str(self.root))
        if self.root.is_dir():  # else the disk is gone, and that is the news
            if reading and error.errno in _MISSING | {errno.EISDIR}:
                return ObjectMissing(key)
            if error.errno in {errno.ENOTDIR, errno.EISDIR, errno.EEXIST}:
                return BadKey(key, "it would have to be both a file and a folder")
        return StorageDown(str(self.root), error)


class _FileWriter:
    """Writes all of what it is given, unbuffered: a failing close cannot hide a full disk."""

    def __init__(self, store: FolderStore, descriptor: int) -> None:
        self._store = store
        self._descriptor = descriptor
        self.error: VaultError | None = None

    def write(self, data: bytes, /) -> int:
        rest = memoryview(data)
        try:
            while rest:
                rest = rest[os.write(self._descriptor, rest) :]
        except OSError as error:
            self.error = self._store._explain(error)
            raise self.error from error
        return len(data)


def _lock(descriptor: int) -> bool:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def _sync_folder(path: Path) -> None:
    with _opened(path) as descriptor:
        os.fsync(descriptor)


@contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _is_old(path: Path, seconds: float) -> bool:
    if not seconds:
        return True
    try:
        return path.stat().st_mtime <= time.time() - seconds
    except FileNotFoundError:  # deleted while the folder was read
        return False
