"""What chat and completions share: from a request to the deltas of the serving process, and out
again as one JSON object or as server-sent events."""

import json
import logging
from collections.abc import AsyncIterator
from typing import Any

from django.http import StreamingHttpResponse
from django.http.response import HttpResponseBase

from faults import Fault
from finetune.api.explaining import explain
from finetune.api.problems import wire_error, wire_kind
from finetune.api.wire.base import AsyncWireView, reply
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from finetune.services.models.tokens import Reservation
from finetune.serving.protocol import Delta, Usage
from tenants.roles import Scope

log = logging.getLogger(__name__)

Deltas = AsyncIterator[Delta]


class GeneratingView(AsyncWireView):
    scopes = {"post": Scope.INFER}

    async def resolve(self, name: str) -> Target:
        found: Target = await self.in_scope(lambda: gateway.resolve(name=name))
        return found

    async def reserve(self, target: Target, generations: list[dict[str, Any]]) -> Reservation:
        return await gateway.reserve(
            target=target, generations=generations, by=self.caller.principal
        )

    async def deltas(
        self, target: Target, generation: dict[str, Any], reserved: Reservation
    ) -> Deltas:
        """Answers once the first delta is there, so that what fails before it has a status."""
        stream = gateway.generate(
            target=target,
            generation=generation,
            reserved=reserved,
            by=self.caller.principal,
            still=self.still_admitted,
        )
        first = await anext(stream)
        return _from(first, stream)


async def _from(first: Delta, rest: Deltas) -> Deltas:
    try:
        yield first
        async for delta in rest:
            yield delta
    finally:
        await rest.aclose()  # type: ignore[attr-defined]


def stream_reply(
    events: AsyncIterator[dict[str, Any]], target: Target, reserved: Reservation
) -> HttpResponseBase:
    response = StreamingHttpResponse(_lines(events), content_type="text/event-stream")
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return named(response, target, reserved)


def whole_reply(body: dict[str, Any], target: Target, reserved: Reservation) -> HttpResponseBase:
    return named(reply(body), target, reserved)


def named(response: HttpResponseBase, target: Target, reserved: Reservation) -> HttpResponseBase:
    """Says what is left of the tokens a minute as the answer begins, and which bytes answered;
    without an adapter's digest it was the plain base."""
    for name, value in reserved.headers.items():
        response[name] = value
    response["x-privatune-base-digest"] = target.base_digest
    if target.adapter_digest is not None:
        response["x-privatune-adapter-digest"] = target.adapter_digest
    return response


async def _lines(events: AsyncIterator[dict[str, Any]]) -> AsyncIterator[bytes]:
    try:
        async for event in events:
            yield _line(event)
    except Fault as error:
        log.warning("a stream broke off: %s", error)
        yield _line(_told(error))  # the status is sent; the SDK raises what it reads here
        return
    yield b"data: [DONE]\n\n"


def _line(event: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def _told(error: Fault) -> dict[str, Any]:
    problem = explain(error)
    return wire_error(
        problem,
        problem.text if error.private else str(error),
        wire_kind(problem.status),
    )


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
