"""The data folder's lock: one stack per folder; the kernel frees it whatever kills the holder."""

import errno
import fcntl
import os
import re
import socket
from pathlib import Path


class StackError(Exception):
    """The stack cannot start; the message is one clear line for whoever called."""


class FolderLock:
    """Held as long as the object lives. Raises StackError when another process holds it."""

    def __init__(self, data: Path) -> None:
        try:
            data.mkdir(parents=True, exist_ok=True, mode=0o700)
            self._descriptor = os.open(data / "lock", os.O_RDWR | os.O_CREAT, 0o600)
        except OSError as error:
            raise StackError(f"The data folder {data} cannot be used: {error.strerror}.") from error
        try:
            fcntl.flock(self._descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = os.read(self._descriptor, 32).decode(errors="replace").strip() or "unknown"
            raise StackError(
                f"The data folder {data} is in use by process {holder}. "
                "Stop that one, or choose another folder with --data."
            ) from None
        os.ftruncate(self._descriptor, 0)
        os.write(self._descriptor, str(os.getpid()).encode())

    def release(self) -> None:
        os.close(self._descriptor)


def require_usable_path(data: Path) -> Path:
    """The folder's absolute path. pg_ctl writes it into a shell's line between double quotes, so
    what ends or opens something there is refused; everything else works."""
    try:
        data = data.resolve()
        data.exists()
    except OSError as error:
        raise StackError(f"The data folder {data} cannot be used: {error.strerror}.") from error
    if odd := re.search(r"[\"$`\\\x00-\x1f\x7f]", str(data)):
        raise StackError(
            f"The data folder's path {data} has the character {odd.group()!r}, which PostgreSQL's "
            "own start command (pg_ctl) cannot take. Choose another folder with --data."
        )
    return data


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


_OTHER_PLACE = {
    errno.EADDRINUSE: "Stop what listens there, or choose another with --port.",
    errno.EACCES: "Choose a port above 1023 with --port, or start as root.",
}


def require_port(host: str, port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError as error:
            fix = _OTHER_PLACE.get(error.errno or 0, "Give an address of this machine with --host.")
            raise StackError(
                f"Port {port} on {host} cannot be used: {error.strerror}. {fix}"
            ) from error
