"""OpenAI's addresses for one model, as an ASGI application: models, chat completions and
completions, whole or streamed; or embeddings of one that makes vectors, or rerank of one that
scores."""

import asyncio
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine
from contextlib import aclosing
from dataclasses import dataclass
from functools import partial
from typing import Any
from uuid import uuid4

from faults import Fault, OurFault, UserFault
from finetune.api.json_bodies import fit_object, read_bytes
from finetune.api.wire import chat_answer, completion_answer, embedding_body, rerank_body
from finetune.api.wire.chat_answer import Deltas
from finetune.api.wire.chat_request import ChatRequest
from finetune.api.wire.completion_answer import in_turn
from finetune.api.wire.completion_request import CompletionRequest
from finetune.api.wire.embedding_body import SIDES, EmbeddingRequest
from finetune.api.wire.rerank_body import ALIASES, RERANK, RerankRequest
from finetune.api.wire.sampling import now
from finetune.discretion import told
from privatune.alone.callers import Callers, require_json
from privatune.alone.clock import HighWater
from privatune.alone.engine import Engine

log = logging.getLogger(__name__)

MAX_BODY = 4 << 20  # bytes
BODY_SECONDS = 60  # for all of it
Scope = dict[str, Any]
Receive = Callable[[], Awaitable[dict[str, Any]]]
Send = Callable[[dict[str, Any]], Awaitable[None]]
Event = dict[str, Any]
Telling = Callable[[], Coroutine[Any, Any, None]]
EMBEDDINGS = "/v1/embeddings"
ASKED_AT = {
    "text": ("/v1/chat/completions", "/v1/completions"),
    "vectors": (EMBEDDINGS,),
    "scores": (RERANK,),
}
Show = Callable[[Deltas], AsyncGenerator[Event]]


class NotFound(UserFault):
    status = 404


class WrongMethod(UserFault):
    status = 405


class TooLarge(UserFault):
    status = 413


class TooSlow(UserFault):
    status = 408


@dataclass(frozen=True)
class Answer:
    """What is asked of the engine, and how it is shown: whole, or event by event."""

    begin: Callable[[], Awaitable[Deltas]]
    whole: Callable[[Deltas], Awaitable[dict[str, Any]]]
    events: Show
    streamed: bool


class Door:
    def __init__(self, engine: Engine, clock: HighWater, callers: Callers) -> None:
        self._engine, self._clock, self._callers = engine, clock, callers
        self._model = engine.model
        self._since = now()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            return
        try:
            await self._answer(scope, receive, send)
        except Fault as fault:
            await _send_json(send, fault.status, error_of(fault))
        except Exception as error:
            log.error("a request failed: %s", told(error))
            broke = OurFault("internal_error", "Something on our side broke.")
            await _send_json(send, broke.status, error_of(broke))

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        headers = dict(scope["headers"])
        self._callers.require(headers)
        path, method = ALIASES.get(scope["path"], scope["path"]), scope["method"]
        known = {
            "/v1/models": "GET",
            f"/v1/models/{self._model.name}": "GET",
        }
        known |= dict.fromkeys(ASKED_AT[self._model.gives], "POST")
        if path not in known:
            raise NotFound("not_found", "There is nothing at this address.")
        if method != known[path]:
            raise WrongMethod("method_not_allowed", f"This address takes {known[path]} alone.")
        if path == "/v1/models":
            await _send_json(send, 200, {"object": "list", "data": [self._described()]})
        elif method == "GET":
            await _send_json(send, 200, self._described())
        else:
            require_json(headers)
            body = read_bytes(await _body(receive))
            await self._while_there(self._telling(path, body, send), receive)

    def _described(self) -> dict[str, Any]:
        return {
            "id": self._model.name,
            "object": "model",
            "created": int(self._model.signed_at.timestamp()),
            "owned_by": "organization",
        }

    def _telling(self, path: str, body: Any, send: Send) -> Telling:
        if path == EMBEDDINGS:
            asked = fit_object(EmbeddingRequest, body)
            self._require_model(asked.model)
            return partial(_embedded, self._engine, asked, asked.inputs(), send)
        if path == RERANK:
            ranked = fit_object(RerankRequest, body)
            self._require_model(ranked.model)
            return partial(_ranked, self._engine, ranked, ranked.texts(), send)
        return partial(_told, self._asked(path, body), send)

    def _asked(self, path: str, body: Any) -> Answer:
        head = {"created": now(), "model": self._model.name, "system_fingerprint": self._print}
        if path == "/v1/chat/completions":
            chat = fit_object(ChatRequest, body)
            chat.check()
            self._require_model(chat.model)
            generation = chat.generation()
            head = {"id": f"chatcmpl-{uuid4().hex}"} | head
            return Answer(
                partial(self._engine.begun, generation),
                partial(chat_answer.whole, head, chat),
                partial(chat_answer.events, head, chat),
                bool(chat.stream),
            )
        asked = fit_object(CompletionRequest, body)
        asked.check()
        self._require_model(asked.model)
        generations = [asked.generation(prompt) for prompt in asked.prompts()]
        head = {"id": f"cmpl-{uuid4().hex}", "object": "text_completion"} | head
        return Answer(
            partial(in_turn, asked, generations, self._engine.begun),
            partial(completion_answer.whole, head, asked, prompts=len(generations)),
            partial(completion_answer.events, head, asked),
            bool(asked.stream),
        )

    @property
    def _print(self) -> str:
        """Which bytes answer."""
        return f"fp_{self._model.digest.removeprefix('sha256:')[:12]}"

    def _require_model(self, name: str) -> None:
        if name != self._model.name:
            raise NotFound(
                "model_not_found",
                f"The model `{name[:200]}` is not served here.",
                fix=f"Ask `{self._model.name}`.",
                param="model",
            )

    async def _while_there(self, telling: Telling, receive: Receive) -> None:
        self._model.terms.require(self._clock)
        answering = asyncio.create_task(telling())
        leaving = asyncio.create_task(_gone(receive))
        try:
            await asyncio.wait({answering, leaving}, return_when=asyncio.FIRST_COMPLETED)
            if answering.done():
                answering.result()
        finally:  # whoever hung up is answered no further
            for task in (answering, leaving):
                task.cancel()
            await asyncio.gather(answering, leaving, return_exceptions=True)


async def _embedded(
    engine: Engine, asked: EmbeddingRequest, inputs: list[str | list[int]], send: Send
) -> None:
    side, dimensions = SIDES[asked.input_type], asked.dimensions
    found = await engine.embed(inputs, side=side, dimensions=dimensions)
    # Millions of numbers take seconds to write: in a thread, beside which others are answered
    await _send_body(send, await asyncio.to_thread(embedding_body.body_of, asked, found))


async def _ranked(engine: Engine, asked: RerankRequest, texts: list[str], send: Send) -> None:
    found = await engine.embed(
        list(texts),
        query=asked.query,
        document_tokens=asked.max_tokens_per_doc,
        cut=asked.truncation,
    )
    await _send_body(send, rerank_body.body_of(asked, found))


async def _told(asked: Answer, send: Send) -> None:
    async with aclosing(await asked.begin()) as deltas:  # type: ignore[type-var]
        if not asked.streamed:
            await _send_json(send, 200, await asked.whole(deltas))
            return
        await _send_head(send, 200, b"text/event-stream; charset=utf-8")
        try:
            async with aclosing(asked.events(deltas)) as events:
                async for event in events:
                    await _send_part(send, _line(event))
        except Fault as fault:  # the status is sent: it is told where the answer would stand
            await _send_part(send, _line(error_of(fault)), more=False)
            return
        await _send_part(send, b"data: [DONE]\n\n", more=False)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        continue


async def _body(receive: Receive) -> bytes:
    """Raises UserFault; one that comes too slowly would hold its connection for ever."""
    try:
        async with asyncio.timeout(BODY_SECONDS):
            return await _whole_body(receive)
    except TimeoutError as error:
        took = f"The body was not here within {BODY_SECONDS} seconds."
        raise TooSlow("request_timeout", took, fix="Send it again.") from error


async def _whole_body(receive: Receive) -> bytes:
    body = bytearray()
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise UserFault("malformed_request", "The body ended early.")
        body += message.get("body", b"")
        if len(body) > MAX_BODY:
            raise TooLarge("request_too_large", f"A body has at most {MAX_BODY >> 20} MB.")
        if not message.get("more_body"):
            return bytes(body)


def error_of(fault: Fault) -> dict[str, Any]:
    """OpenAI's shape."""
    text = fault.message
    text = f"{text} ({fault.where})" if fault.where else text
    kind = "server_error" if fault.status >= 500 else "invalid_request_error"
    return {
        "error": {
            "message": f"{text} {fault.fix}" if fault.fix else text,
            "type": kind,
            "param": fault.param,
            "code": fault.code,
        }
    }


def _line(event: Event) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


async def _send_json(send: Send, status: int, body: dict[str, Any]) -> None:
    await _send_body(send, json.dumps(body, ensure_ascii=False).encode(), status)


async def _send_body(send: Send, body: bytes, status: int = 200) -> None:
    await _send_head(send, status, b"application/json")
    await _send_part(send, body, more=False)


async def _send_head(send: Send, status: int, content_type: bytes) -> None:
    headers = [(b"content-type", content_type), (b"cache-control", b"no-store")]
    await send({"type": "http.response.start", "status": status, "headers": headers})


async def _send_part(send: Send, body: bytes, *, more: bool = True) -> None:
    await send({"type": "http.response.body", "body": body, "more_body": more})
