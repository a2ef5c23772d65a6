"""The web server's application, asked by its raw protocol from many tasks in one process."""

import asyncio
import json
import random
from typing import Any

from privatune.edge.application import Application
from tests.privatune.crossings.traffic import Party, Tally

AT_ONCE = 12
ASKED = {"list": 60, "other": 12, "fails": 8, "leaves": 8, "looks": 8, "upload": 4}
FORM = (
    '--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nuser_data\r\n'
    '--b\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\nx\r\n--b--\r\n'
)


async def ask(
    application: Application, path: str, key: str = "", form: str = "", stay: float | None = None
) -> tuple[int, Any]:
    """Status and JSON, if it is that; the client leaves after `stay` seconds. Status 0: nothing was
    answered."""
    body = form.encode()
    headers = [(b"host", b"testserver"), (b"content-length", str(len(body)).encode())]
    headers += [(b"authorization", f"Bearer {key}".encode())] if key else []
    headers += [(b"content-type", b"multipart/form-data; boundary=b")] if form else []
    scope = {
        **{"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http"},
        **{"method": "POST" if form else "GET", "path": path, "raw_path": path.encode()},
        **{"root_path": "", "query_string": b"", "headers": headers},
        **{"client": ("127.0.0.1", 1), "server": ("testserver", 80)},
    }
    first, answer, status = True, b"", 0

    async def receive() -> dict[str, Any]:
        nonlocal first
        if first:
            first = False
            return {"type": "http.request", "body": body, "more_body": False}
        await asyncio.sleep(3600 if stay is None else stay)
        return {"type": "http.disconnect"}

    async def send(message: Any) -> None:
        nonlocal answer, status
        status = message.get("status", status)
        answer += message.get("body", b"")

    await application(scope, receive, send)
    return status, json.loads(answer) if answer.startswith(b"{") else None


async def ask_much(parties: list[Party], tally: Tally, requests: int) -> None:
    """Interleaved requests of the parties, `AT_ONCE` at a time; their order is drawn by a seed."""
    application, draw = Application(), random.Random(0)
    left = iter(range(requests))

    async def client() -> None:
        for _ in left:
            (what,) = draw.choices(list(ASKED), list(ASKED.values()))
            party, other = draw.sample(parties, 2)
            await _one(
                application, what, party, other, draw.choice([0.0, draw.random() / 50]), tally
            )

    await asyncio.gather(*(client() for _ in range(AT_ONCE)))


async def _one(
    application: Application, what: str, party: Party, other: Party, stay: float, tally: Tally
) -> None:
    paths = {"other": f"/v1/files/{other.file}", "fails": "/v1/fails", "looks": "/looks"}
    form = FORM.format(name=f"{party.mark}-sent") if what == "upload" else ""
    status, told = await ask(
        application,
        paths.get(what, "/v1/files"),
        "" if what == "looks" else party.key,
        form,
        stay if what == "leaves" else None,
    )
    if status == 503:  # its connection was ended under it, with whatever words
        assert told is None or told["error"]["code"] == "database_down", told
        return tally.count("web lost")
    if what == "leaves" and status == 0:
        return tally.count("web left")
    expected = {"other": 404, "fails": 500}.get(what, 200)
    assert status == expected, (what, status, told)
    if what in ("list", "leaves"):
        tally.require(party.owns([file["filename"] for file in told["data"]]), "list")
    if what == "upload":
        tally.require(told["filename"] == f"{party.mark}-sent", "upload")
    if what == "looks":
        tally.require(told["found"] == [], f"web: {told['found']}")
    tally.count(f"web {what}")
