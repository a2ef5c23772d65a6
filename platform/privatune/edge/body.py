"""A request's body on its way in: not larger, not slower, and not more at once than allowed."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from finetune.api.problems import Refusal, too_large
from privatune.edge.budget import Share
from privatune.edge.refusals import TOO_SLOW

Message = Mapping[str, Any]
Receive = Callable[[], Awaitable[Message]]

DRAIN_SECONDS = 10.0
DRAIN = 64 << 20  # bytes thrown away after a refusal, so that the client reads the answer


@dataclass(frozen=True)
class Pace:
    """Nothing may be silent for `idle` seconds; after `grace` seconds the whole must have come at
    `rate` bytes a second, and after `total` seconds it must be there."""

    idle: float
    rate: int
    total: float
    grace: float = 15.0

    def patience(self, started: float, received: int) -> float:
        """Seconds for which the next piece is waited for; may be negative."""
        ends = started + min(self.grace + received / self.rate, self.total)
        return min(self.idle, ends - time.monotonic())


class Body:
    """`receive` that raises Refusal for what is too large, too slow or too much at once."""

    def __init__(self, receive: Receive, limit: int, pace: Pace) -> None:
        self._receive = receive
        self._limit = limit
        self._pace = pace
        self._started = 0.0  # at the first read: who waits to be let in is not slow
        self._received = 0
        self.share: Share | None = None
        self.finished = False

    async def __call__(self) -> Message:
        if self.finished:  # Django waits here for the client to go
            return await self._receive()
        message = await self._next()
        if message["type"] != "http.request":
            self.finished = True
            return message
        self._received += len(message.get("body", b""))
        self.finished = not message.get("more_body", False)
        if self._received > self._limit:
            raise Refusal(too_large(self._limit))
        if self.share is not None:
            self.share.cover(self._received)
        return message

    async def _next(self) -> Message:
        self._started = self._started or time.monotonic()
        try:
            async with asyncio.timeout(self._pace.patience(self._started, self._received)):
                return await self._receive()
        except TimeoutError:
            raise Refusal(TOO_SLOW) from None

    async def drain(self) -> None:
        """A client that is still sending would meet a reset instead of the answer."""
        dropped = 0
        with suppress(TimeoutError):
            async with asyncio.timeout(DRAIN_SECONDS):
                while not self.finished and dropped < DRAIN:
                    message = await self._receive()
                    dropped += len(message.get("body", b""))
                    self.finished = not message.get("more_body", False)
