"""Send one file to the server: in one request when it is small, otherwise in parts."""

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, BinaryIO

from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from privatune.cli.client import Client
from privatune.cli.exits import Exit, Stop
from privatune.cli.output import notes
from privatune.cli.pace import Pace
from privatune.cli.progress import duration
from tenants.states import FileStatus

MB = 1024 * 1024
IN_PARTS_ABOVE = 64 * MB
PART_BYTES = 32 * MB
PART_ATTEMPTS = 5
RESEND_SECONDS = 0.5
CHECK_SECONDS = 3600.0  # the server's own limit on a check is shorter


def upload(
    client: Client, path: Path, *, purpose: str, expires_after: int | None = None
) -> dict[str, Any]:
    """The server's file object. Raises Stop when the server refuses or does not answer."""
    with _bar() as bar:
        task = bar.add_task(path.name, total=path.stat().st_size)
        if path.stat().st_size > IN_PARTS_ABOVE:
            return _in_parts(
                client, path, purpose, expires_after, lambda sent: bar.update(task, completed=sent)
            )
        fields = {"purpose": purpose}
        if expires_after is not None:
            fields["expires_after[anchor]"] = "created_at"
            fields["expires_after[seconds]"] = str(expires_after)
        with bar.open(path, "rb", task_id=task) as content:
            named = (path.name, content, "application/octet-stream")
            file: dict[str, Any] = client.post_form("/v1/files", fields, file=named)
            return file


def _in_parts(
    client: Client,
    path: Path,
    purpose: str,
    expires_after: int | None,
    sent: Callable[[int], object],
) -> dict[str, Any]:
    wish: dict[str, Any] = {
        "purpose": purpose,
        "filename": path.name,
        "bytes": path.stat().st_size,
        "mime_type": "application/octet-stream",
    }
    if expires_after is not None:
        wish["expires_after"] = {"anchor": "created_at", "seconds": expires_after}
    started = client.post("/v1/uploads", wish)
    digest = hashlib.md5(usedforsecurity=False)  # the upload protocol's checksum
    part_ids: list[str] = []
    done = 0
    with path.open("rb") as content:
        for part in _parts(content):
            digest.update(part)
            part_ids.append(_send_part(client, started["id"], part))
            done += len(part)
            sent(done)
    ended = client.post(
        f"/v1/uploads/{started['id']}/complete",
        {"part_ids": part_ids, "md5": digest.hexdigest()},
    )
    file: dict[str, Any] = ended["file"]
    return file


def _parts(content: BinaryIO) -> Iterator[bytes]:
    while part := content.read(PART_BYTES):
        yield part


def _send_part(client: Client, upload_id: str, part: bytes) -> str:
    """A part the server has twice does no harm: only the ids named at the end count."""
    for attempt in range(1, PART_ATTEMPTS + 1):
        try:
            named = ("part", part, "application/octet-stream")
            answer = client.post_form(f"/v1/uploads/{upload_id}/parts", {}, data=named)
            return str(answer["id"])
        except Stop as stop:
            if stop.exit_code is not Exit.UNAVAILABLE or attempt == PART_ATTEMPTS:
                raise
            notes().print(f"{stop.message} Sending this part again ({attempt}).")
            time.sleep(RESEND_SECONDS * 2**attempt)
    raise AssertionError("the last attempt returns or raises")


def processed(client: Client, file: dict[str, Any]) -> dict[str, Any]:
    """The file once its check on the server has ended, well or badly."""
    pace = Pace()
    try:
        with notes().status("The server checks the file ..."):
            while file.get("status") == FileStatus.UPLOADED:
                if pace.seconds > CHECK_SECONDS:
                    raise _unfinished(file)
                if pace.due() and not notes().is_terminal:
                    notes().print(f"The server checks the file ({duration(pace.seconds)})")
                    pace.said()
                time.sleep(0.5)
                file = client.get(f"/v1/files/{file['id']}")
    except KeyboardInterrupt:
        notes().print(
            f"{file['id']} is in the server and is checked there all the same: "
            f"`privatune files get {file['id']}` shows it, `privatune files delete` removes it.",
            soft_wrap=True,
        )
        raise
    return file


def _unfinished(file: dict[str, Any]) -> Stop:
    return Stop(
        Exit.UNAVAILABLE,
        f"{file['id']} is still being checked.",
        code="check_unfinished",
        fix=f"look again later: privatune files get {file['id']}",
    )


def refused(file: dict[str, Any], path: Path) -> Stop:
    """What to say of a file that did not pass the server's check."""
    return Stop(
        Exit.DATA,
        file.get("status_details") or "The file did not pass its check.",
        code="file_refused",
        where=path.name,
        fix=f"`privatune check {path}` lists every problem with its line.",
    )


def _bar() -> Progress:
    return Progress(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        console=notes(),
        transient=True,
    )
