"""Large files from the server, whole or not at all: what broke off goes on where it ended, also
in a later call, and the SHA-256 decides."""

import hashlib
import os
import re
from pathlib import Path
from typing import Any

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TransferSpeedColumn,
)

from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import notes

TRIES = 5  # in a row that bring no byte
_SHA256 = re.compile(r"[0-9a-f]{64}")


def fetch_whole(client: Client, address: str, path: Path, told: dict[str, Any]) -> None:
    """The file gets its name only when all of it is there and its SHA-256 is the one that the
    server `told` of, with its size. Raises Stop."""
    sha256, size = _told(told)
    partial = path.with_name(f".{path.name}.{sha256[:12]}.part")
    bar = Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        console=notes(),
        transient=True,
    )
    with bar:
        task = bar.add_task(path.name, total=size, completed=_size(partial))
        vain = 0
        while _size(partial) < size:
            had = _size(partial)
            try:
                _go_on(client, address, partial, bar, task, sha256, size)
                broke = Stop(
                    Exit.UNAVAILABLE,
                    f"The server ended what it sent at {_size(partial)} of {size} bytes.",
                    code="download_broke_off",
                    fix="Give the command again: it goes on there.",
                )
            except Stop as stop:
                if stop.code != "no_answer" or not _size(partial):
                    raise
                broke = stop
            finally:
                if not _size(partial):
                    partial.unlink(missing_ok=True)
            bar.update(task, completed=_size(partial))
            vain = 0 if _size(partial) > had else vain + 1
            if vain == TRIES and _size(partial) < size:
                raise broke
    _require_told(partial, sha256)
    os.replace(partial, path)


def _go_on(
    client: Client,
    address: str,
    partial: Path,
    bar: Progress,
    task: TaskID,
    sha256: str,
    size: int,
) -> None:
    """No more than the bytes that were told of: a server without an end fills no disk."""
    headers = {"If-Range": f'"{sha256}"', "Accept-Encoding": "identity"}
    if had := _size(partial):
        headers["Range"] = f"bytes={had}-"
    with client.stream("GET", address, headers=headers) as response:
        goes_on = response.status_code == 206
        with partial.open("ab" if goes_on else "wb") as target:
            for chunk in response.iter_bytes():
                target.write(chunk)
                bar.advance(task, len(chunk))
                if target.tell() > size:
                    break


def _told(told: dict[str, Any]) -> tuple[str, int]:
    sha256, size = told.get("sha256"), told.get("bytes")
    if (
        isinstance(sha256, str)
        and _SHA256.fullmatch(sha256)
        and isinstance(size, int)
        and not isinstance(size, bool)
        and size > 0
    ):
        return sha256, size
    raise Stop(
        Exit.UNAVAILABLE,
        "The server tells of a file without its size and SHA-256.",
        code="not_our_server",
        fix="check PRIVATUNE_BASE_URL: is a Privatune server there?",
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0


def _require_told(partial: Path, sha256: str) -> None:
    with partial.open("rb") as source:
        found = hashlib.file_digest(source, "sha256").hexdigest()
    if found != sha256:
        partial.unlink()
        raise Stop(
            Exit.FAILED,
            "What came is not what the server told of: its SHA-256 is another.",
            code="download_changed",
            fix="Fetch it again; if it differs again, ask the operator.",
        )
