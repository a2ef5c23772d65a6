"""Large files from the server, whole or not at all: what broke off goes on where it ended, also
in a later call, and the SHA-256 decides."""

import hashlib
import os
from pathlib import Path

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
BLOCK = 1 << 20


def fetch_whole(client: Client, address: str, path: Path, *, sha256: str, size: int) -> None:
    """The file gets its name only when all of it is there and its SHA-256 is the told one."""
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
                _go_on(client, address, partial, bar, task, sha256)
            except Stop as stop:
                vain = 0 if _size(partial) > had else vain + 1
                if stop.code != "no_answer" or not _size(partial) or vain == TRIES:
                    raise
            finally:
                if not _size(partial):
                    partial.unlink(missing_ok=True)
            bar.update(task, completed=_size(partial))
    _require_told(partial, sha256)
    os.replace(partial, path)


def _go_on(
    client: Client, address: str, partial: Path, bar: Progress, task: TaskID, sha256: str
) -> None:
    headers = {"If-Range": f'"{sha256}"', "Accept-Encoding": "identity"}
    if had := _size(partial):
        headers["Range"] = f"bytes={had}-"
    with client.stream("GET", address, headers=headers) as response:
        goes_on = response.status_code == 206
        with partial.open("ab" if goes_on else "wb") as target:
            for chunk in response.iter_bytes():
                target.write(chunk)
                bar.advance(task, len(chunk))


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
