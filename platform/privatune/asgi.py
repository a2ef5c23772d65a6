"""The ASGI application. Bodies wait in an encrypted spool, and too large ones are refused while
they come in, before the rest is read."""

import asyncio
import os
import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from typing import IO, Any, cast

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "privatune.settings")
os.environ.setdefault("PRIVATUNE_PROCESS", "web")

import django
from django.conf import settings
from django.core.exceptions import RequestAborted
from django.core.handlers.asgi import ASGIHandler
from django.db import connections

from privatune import problems
from tenants.vault.errors import VaultError
from tenants.vault.spool import EncryptedSpool

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FORM_OVERHEAD = 1 << 20  # bytes of a form around its file
PART_BYTES = 64 * 1024 * 1024
WRITE = 1 << 20  # bytes collected before the spool, which may go to disk, takes them in a thread
DRAIN_SECONDS = 10.0
DRAIN = 64 * 1024 * 1024  # bytes thrown away after a refusal, so that the client reads the answer


class Refusal(Exception):
    """The body is not read to its end, and why."""

    def __init__(self, problem: problems.Problem) -> None:
        super().__init__(problem.code)
        self.problem = problem


def body_limit(scope: Message) -> int:
    """Bytes a body may have at this address."""
    path = str(scope["path"])
    if problems.is_api(path) and not _header(scope, b"authorization"):
        return FORM_OVERHEAD  # enough to be told 401; nobody unknown fills our disk
    if path.startswith("/v1/uploads/"):
        return PART_BYTES + FORM_OVERHEAD
    if path.startswith((problems.WIRE, problems.OWN)) and path != "/v1/files":
        return settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    return int(settings.MAX_FILE_BYTES) + FORM_OVERHEAD


def declared_length(scope: Message) -> int:
    value = _header(scope, b"content-length")
    return int(value) if value.isdigit() else 0


def _header(scope: Message, wanted: bytes) -> bytes:
    return next((bytes(value) for name, value in scope["headers"] if name == wanted), b"")


class Limited:
    """`receive` that raises Refusal once more has come than may come."""

    def __init__(self, receive: Receive, limit: int) -> None:
        self._receive = receive
        self._left = limit
        self.finished = False

    async def __call__(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.request":
            self._left -= len(message.get("body", b""))
            self.finished = not message.get("more_body", False)
        else:
            self.finished = True
        if self._left < 0:
            raise Refusal(problems.TOO_LARGE)
        return message

    async def drain(self) -> None:
        """A client that is still sending would meet a reset instead of the answer."""
        dropped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.finished and dropped < DRAIN:
                    message = await self._receive()
                    dropped += len(message.get("body", b""))
                    self.finished = not message.get("more_body", False)


class Application(ASGIHandler):
    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        limit = body_limit(scope)
        limited = Limited(receive, limit)
        try:
            if declared_length(scope) > limit:
                raise Refusal(problems.TOO_LARGE)
            await super().__call__(scope, limited, send)
        except Refusal as refusal:
            await self._refuse(scope, refusal.problem, limited, send)

    async def read_body(self, receive: Receive) -> IO[bytes]:
        spool = EncryptedSpool(settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
        try:
            await _fill(spool, receive)
        except VaultError as error:
            spool.close()
            raise Refusal(problems.explain(error) or problems.UNEXPECTED) from error
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return cast(IO[bytes], spool)

    async def _refuse(
        self, scope: Message, problem: problems.Problem, body: Limited, send: Send
    ) -> None:
        response = problems.answer(str(scope["path"]), problem)
        response["x-request-id"] = f"req_{secrets.token_hex(16)}"
        response["Connection"] = "close"
        await self.send_response(response, send)
        await body.drain()


async def _fill(spool: EncryptedSpool, receive: Receive) -> None:
    waiting = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise RequestAborted
        waiting += message.get("body", b"")
        more = message.get("more_body", False)
        if len(waiting) >= WRITE or not more:
            await asyncio.to_thread(spool.write, bytes(waiting))
            waiting.clear()


async def _lifespan(receive: Receive, send: Send) -> None:
    while True:
        message = await receive()
        await send({"type": f"{message['type']}.complete"})
        if message["type"] == "lifespan.shutdown":
            return


def _pool_connections() -> None:
    """Under ASGI each request has a thread of its own, so a connection kept per thread would never
    be met again and stay open; the web server alone takes its connections from a pool."""
    database = connections.settings["default"]
    database["CONN_MAX_AGE"] = 0
    database["OPTIONS"]["pool"] = {"min_size": 1, "max_size": 20, "timeout": 10}


django.setup(set_prefix=False)
_pool_connections()
application = Application()
