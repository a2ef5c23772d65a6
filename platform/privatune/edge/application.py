"""Django's ASGI handler behind the edge: who asks, how often and how much is settled before a body
is read; bodies then wait in an encrypted spool."""

import asyncio
import secrets
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager
from io import SEEK_END, BytesIO
from typing import IO, Any, cast

from asgiref.sync import ThreadSensitiveContext, sync_to_async
from django.conf import settings
from django.core.handlers.asgi import ASGIHandler, ASGIRequest
from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.utils import translation

from finetune.api.explaining import explain
from finetune.api.problems import Problem, Refusal, answer, is_api, too_large
from finetune.api.wire.rerank_body import ALIASES
from finetune.api.words import language_of
from privatune import problem_pages
from privatune.edge import doors, origins, routes
from privatune.edge.body import Body, Message, Pace, Receive
from privatune.edge.budget import Budget, Share
from privatune.edge.held import KEY, Held
from privatune.edge.origins import Origins
from privatune.edge.persons import Persons
from privatune.edge.rates import Floods, Rates
from privatune.edge.refusals import ENCODED, MALFORMED
from privatune.edge.routes import Place
from privatune.edge.turns import Turns
from tenants.addresses import client_address, network_of
from tenants.limits import share
from tenants.vault.errors import VaultError
from tenants.vault.spool import EncryptedSpool

Send = Callable[[Message], Awaitable[None]]

WRITE = 1 << 20  # bytes collected before the spool, which may go to disk, takes them in a thread
OWNER, PLACE = "privatune.owner", "privatune.place"
PLAIN = (b"", b"identity")  # encodings of a body that is as it looks


class Application(ASGIHandler):
    def __init__(self) -> None:
        super().__init__()
        self._floods = Floods(settings.ADDRESS_REQUESTS_PER_MINUTE)
        self._rates = Rates(settings.KEY_REQUESTS_PER_MINUTE, settings.TENANT_REQUESTS_PER_MINUTE)
        self._persons = Persons()
        self._origins = Origins(settings.API_ORIGINS)
        self._budget = Budget(share(settings.SPOOL_BYTES), share(settings.TENANT_SPOOL_BYTES))
        self._turns = Turns(settings.REQUESTS_AT_ONCE, settings.REQUESTS_WAITING)
        self._pace = Pace(
            settings.BODY_IDLE_SECONDS, settings.BODY_BYTES_PER_SECOND, settings.BODY_SECONDS
        )

    async def __call__(self, scope: dict[str, Any], receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan":
            return await _lifespan(receive, send)
        scope = scope | {"path": ALIASES.get(scope["path"], scope["path"])}
        address = _address(scope)
        party = self._persons.of(_header(scope, b"cookie")) or address
        shared = self._origins.headers(scope["path"], _header(scope, b"origin"))
        send = _adding(shared, send)
        wanted = _header(scope, b"access-control-request-headers")
        if shared and origins.is_preflight(scope, _header(scope, b"access-control-request-method")):
            return await origins.permit(send, wanted)
        place = routes.place_of(scope["method"], scope["path"])
        held = Held()
        scope = scope | {KEY: held, PLACE: place, OWNER: party}
        body = Body(receive, place.limit, self._pace)
        async with _one_thread(held):
            try:
                if _declared_length(scope) > place.limit:
                    raise Refusal(too_large(place.limit))
                headers = await self._admit(scope, place, address)
                if _header(scope, b"content-encoding").strip().lower() not in PLAIN:
                    raise Refusal(ENCODED)
                self._share(scope, place, body)
                await self.handle(scope, body, _adding(headers, send))
            except Refusal as refusal:
                await self._refuse(scope, refusal, body, send)

    async def _admit(
        self, scope: dict[str, Any], place: Place, address: str
    ) -> list[tuple[bytes, bytes]]:
        """Who asks; gives headers for the answer. Raises Refusal."""
        if place.scope is None and place.slug is None:
            self._floods.admit(scope[OWNER], b"")
            self._floods.count(scope[OWNER])
            return []
        credentials = _credentials(scope)
        self._floods.admit(address, credentials)
        try:
            found = await sync_to_async(doors.admit)(scope, place)
        except Refusal as refusal:
            if refusal.problem.status < 500:
                self._floods.count(address)
                self._floods.forget(address, credentials)
            raise
        self._floods.remember(address, credentials)
        scope[OWNER] = found.tenant
        headers = self._rates.count(found.caller) if found.caller else []
        if found.refusal is not None:
            found.refusal.headers = headers
            raise found.refusal
        return headers

    def _share(self, scope: dict[str, Any], place: Place, body: Body) -> None:
        if place.limit <= routes.SMALL:
            return
        body.share = Share(self._budget, scope[OWNER], place.spools)
        scope[KEY].add(body.share.close)
        body.share.cover(_declared_length(scope))

    async def read_body(self, receive: Receive) -> IO[bytes]:
        spool = EncryptedSpool(settings.FILE_UPLOAD_MAX_MEMORY_SIZE)
        try:
            await _fill(spool, receive)
        except VaultError as error:
            spool.close()
            raise Refusal(explain(error)) from error
        except BaseException:
            spool.close()
            raise
        spool.seek(0)
        return cast(IO[bytes], spool)

    def create_request(
        self, scope: Mapping[str, Any], body_file: IO[bytes]
    ) -> tuple[ASGIRequest, None] | tuple[None, HttpResponseBase]:
        """A body's length is what came of it: chunked, it was never declared, and Django and REST
        framework take a body without a length for empty."""
        size = body_file.seek(0, SEEK_END)
        body_file.seek(0)
        headers = [each for each in scope["headers"] if each[0] != b"content-length"]
        if size:
            headers.append((b"content-length", str(size).encode()))
        request, _ = super().create_request({**scope, "headers": headers}, body_file)
        if request is None:
            raise Refusal(MALFORMED)
        return request, None

    async def run_get_response(self, request: HttpRequest) -> HttpResponseBase:
        scope: dict[str, Any] = request.scope  # type: ignore[attr-defined]
        scope[KEY].add(request.close)  # also when the client leaves and Django lets it be
        if scope[PLACE].waits:
            return await super().run_get_response(request)
        async with self._turns.turn(scope[OWNER]):
            response = await super().run_get_response(request)
        self._persons.meet(request)
        return response

    async def _refuse(
        self, scope: dict[str, Any], refusal: Refusal, body: Body, send: Send
    ) -> None:
        response = await sync_to_async(_told)(scope, refusal.problem)
        response["x-request-id"] = f"req_{secrets.token_hex(16)}"
        response["Connection"] = "close"
        await self.send_response(response, _adding(refusal.headers, send))
        await body.drain()


def _told(scope: dict[str, Any], problem: Problem) -> HttpResponse:
    if is_api(str(scope["path"])):
        accepted = dict(scope["headers"]).get(b"accept-language", b"").decode("latin-1")
        with translation.override(language_of(accepted)):
            return answer(str(scope["path"]), problem)
    return problem_pages.bare(ASGIRequest(scope, BytesIO()), problem)


@asynccontextmanager
async def _one_thread(held: Held) -> AsyncIterator[None]:
    """All synchronous code of a request runs in one thread, and what the request holds is let go
    there, last. Nobody waits for that: a view at work must not stop the event loop."""
    executor = ThreadPoolExecutor(max_workers=1)
    try:
        async with ThreadSensitiveContext(executor=executor):
            yield
    finally:
        executor.submit(held.close)
        executor.shutdown(wait=False)


def _adding(headers: list[tuple[bytes, bytes]], send: Send) -> Send:
    if not headers:
        return send

    async def sending(message: Message) -> None:
        if message["type"] == "http.response.start":
            message = {**message, "headers": [*message.get("headers", []), *headers]}
        await send(message)

    return sending


def _address(scope: Message) -> str:
    """Whom a request of nobody in particular is counted for: its address, or an IPv6 household's
    network."""
    request = HttpRequest()
    request.META["REMOTE_ADDR"] = (scope.get("client") or ("", 0))[0]
    forwarded = [bytes(v).decode("latin-1") for n, v in scope["headers"] if n == b"x-forwarded-for"]
    request.META["HTTP_X_FORWARDED_FOR"] = ",".join(forwarded)
    return network_of(client_address(request))


def _declared_length(scope: Message) -> int:
    value = _header(scope, b"content-length")
    return int(value[:20]) if value.isdigit() else 0


def _credentials(scope: Message) -> bytes:
    return _header(scope, b"authorization") or _header(scope, b"cookie")


def _header(scope: Message, wanted: bytes) -> bytes:
    return next((bytes(value) for name, value in scope["headers"] if name == wanted), b"")


async def _fill(spool: EncryptedSpool, receive: Receive) -> None:
    waiting = bytearray()
    more = True
    while more:
        message = await receive()
        if message["type"] == "http.disconnect":
            # The client has gone, or sent a broken chunk and waits to be told.
            raise Refusal(MALFORMED)
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
