"""How many requests of one caller are worked on at the same time.

The database pool is shared by all; as long as one caller's turns are fewer than its connections,
others find one free. What streams or waits for a model has left its turn.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from privatune.edge.refusals import too_many


class _Line:
    def __init__(self, at_once: int) -> None:
        self.free = asyncio.Semaphore(at_once)
        self.present = 0  # working and waiting


class Turns:
    def __init__(self, at_once: int, waiting: int) -> None:
        self._at_once = at_once
        self._most = at_once + waiting
        self._lines: dict[str, _Line] = {}

    @asynccontextmanager
    async def turn(self, owner: str) -> AsyncIterator[None]:
        """Waits for a turn. Raises Refusal (429) when too many wait already."""
        line = self._lines.setdefault(owner, _Line(self._at_once))
        if line.present >= self._most:
            raise too_many(
                "too_many_requests_at_once",
                "Too many of your requests are waiting for their turn.",
                1,
                fix="Send fewer requests at the same time.",
            )
        line.present += 1
        try:
            async with line.free:
                yield
        finally:
            line.present -= 1
            if not line.present:
                self._lines.pop(owner, None)
