"""The unix socket itself: whose it is, and what a killed server leaves behind. Light to import."""

import asyncio
import os
import socket
import stat
from collections.abc import Awaitable, Callable
from pathlib import Path

from faults import UserFault
from finetune.serving.protocol import MAX_LINE

Connected = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def start(connected: Connected, path: Path) -> asyncio.Server:
    mask = os.umask(0o177)  # the socket is born 0600; a chmod afterwards would leave a gap
    try:
        return await asyncio.start_unix_server(connected, path, limit=MAX_LINE)
    finally:
        os.umask(mask)


def free(path: Path) -> None:
    """Remove a socket that a killed server left behind.

    Raises UserFault `socket_in_use` where a server answers, or the file is no socket.
    """
    if not path.exists():
        return
    if not stat.S_ISSOCK(path.stat().st_mode):
        raise UserFault("socket_in_use", "There is a file of that name.", where=str(path))
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise UserFault(
        "socket_in_use",
        "Another model server answers on this socket.",
        where=str(path),
        fix="Stop it, or give another --socket.",
    )
