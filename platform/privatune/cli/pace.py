"""When to say something again where the output is no terminal: never silent for 15 seconds."""

import time
from collections.abc import Callable

QUIET_SECONDS = 12.0  # between two lines: what is looked at every second or two stays below 15

Clock = Callable[[], float]


class Pace:
    """`due()` is true when nothing was said for QUIET_SECONDS; whoever says something calls
    `said()`."""

    def __init__(self, clock: Clock = time.monotonic) -> None:
        self._clock = clock
        self._began = self._last = clock()

    def due(self) -> bool:
        return self._clock() - self._last >= QUIET_SECONDS

    def said(self) -> None:
        self._last = self._clock()

    @property
    def seconds(self) -> float:
        """Since the beginning."""
        return self._clock() - self._began
