"""What chat and completions share: from a request to the deltas of the serving process, and out
again as one JSON object or as server-sent events."""

from collections.abc import Awaitable, Callable
from typing import Any

from django.http.response import HttpResponseBase

from finetune.api.wire.base import AsyncWireView, reply
from finetune.api.wire.chat_answer import Deltas
from finetune.api.wire.event_streams import Dialect, Show, stream
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from finetune.services.models.tokens import Reservation
from finetune.serving.protocol import Delta
from tenants.roles import Scope


class GeneratingView(AsyncWireView):
    scopes = {"post": Scope.INFER}

    async def resolve(self, name: str) -> Target:
        found: Target = await self.in_scope(lambda: gateway.resolve(name=name))
        return found

    async def reserve(self, target: Target, generations: list[dict[str, Any]]) -> Reservation:
        return await gateway.reserve(
            target=target,
            generations=generations,
            by=self.caller.principal,
            still=self.still_admitted,
        )

    async def begun(
        self, target: Target, generation: dict[str, Any], reserved: Reservation
    ) -> Deltas:
        """The deltas, once the first of them is there."""
        stream = gateway.generate(
            target=target,
            generation=generation,
            reserved=reserved,
            by=self.caller.principal,
            still=self.still_admitted,
        )
        return _from(await anext(stream), stream)


class Opening:
    """From a wish to the first delta of its answer. `begin` is given what was reserved."""

    def __init__(
        self,
        view: GeneratingView,
        target: Target,
        generations: list[dict[str, Any]],
        begin: Callable[[Reservation], Awaitable[Deltas]] | None = None,
    ) -> None:
        self.target = target
        self.reserved: Reservation | None = None
        self._view = view
        self._generations = generations
        self._begin = begin or self._first

    async def deltas(self) -> Deltas:
        self.reserved = await self._view.reserve(self.target, self._generations)
        return await self._begin(self.reserved)

    async def _first(self, reserved: Reservation) -> Deltas:
        return await self._view.begun(self.target, self._generations[0], reserved)


async def _from(first: Delta, rest: Deltas) -> Deltas:
    try:
        yield first
        async for delta in rest:
            yield delta
    finally:
        await rest.aclose()  # type: ignore[attr-defined]


async def stream_reply(
    opening: Opening, show: Show, dialect: Dialect | None = None
) -> HttpResponseBase:
    """Answers once the first delta is there, so that what fails before it has a status; or after
    a few seconds without it."""
    return named(await stream(opening.deltas(), show, dialect), opening)


def whole_reply(body: dict[str, Any], opening: Opening) -> HttpResponseBase:
    return named(reply(body), opening)


def named(response: HttpResponseBase, opening: Opening) -> HttpResponseBase:
    """Says what is left of the tokens a minute as the answer begins, where that is known by then,
    and which bytes answered; without an adapter's digest it was the plain base."""
    return told_of(response, opening.target, opening.reserved)


def told_of(
    response: HttpResponseBase, target: Target, reserved: Reservation | None
) -> HttpResponseBase:
    for name, value in (reserved.headers if reserved else {}).items():
        response[name] = value
    response["x-privatune-base-digest"] = target.base_digest
    if target.adapter_digest is not None:
        response["x-privatune-adapter-digest"] = target.adapter_digest
    return response
