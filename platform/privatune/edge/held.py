"""What a request holds until it has ended, however it ends: spools, shares of budgets, streams.

It is let go in the request's own thread, so that a view that is still at work there comes first,
even when its client has left.
"""

import logging
from collections.abc import Callable
from typing import Any

from django.db import connections
from django.http import HttpRequest

log = logging.getLogger(__name__)

KEY = "privatune.held"


class Held:
    def __init__(self) -> None:
        self._closers: list[Callable[[], Any]] = []

    def add(self, close: Callable[[], Any]) -> None:
        self._closers.append(close)

    def close(self) -> None:
        connections.close_all()  # the thread ends: its connection goes back to the pool
        while self._closers:
            try:
                self._closers.pop()()
            except Exception:
                log.exception("something that a request held could not be let go")


def hold(request: HttpRequest, close: Callable[[], Any]) -> None:
    """Has `close` called at the request's end. `close` must bear being called twice."""
    held = getattr(request, "scope", {}).get(KEY)
    if held is not None:
        held.add(close)
