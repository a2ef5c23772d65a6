"""The heartbeat: a thread with its own database connection, which the work cannot starve."""

import logging
import threading
import time
from collections.abc import Callable
from typing import Generic, TypeVar

from django.conf import settings
from django.db import Error, connection

from finetune.work.signals import LeaseLost

log = logging.getLogger(__name__)

WATCH_SECONDS = 1.0

Seen = TypeVar("Seen")


class Pulse(Generic[Seen]):
    """Calls `beat` every HEARTBEAT_SECONDS and `watch` every second, for as long as the block runs.

    A database that is away for a moment is no loss; one that is away for as long as the lease lives
    is, because by then another worker may have claimed.
    """

    def __init__(self, beat: Callable[[], None], watch: Callable[[], Seen], seen: Seen) -> None:
        self.seen = seen
        self.lost = False
        self._beat = beat
        self._watch = watch
        self._stop = threading.Event()
        self._renewed = time.monotonic()
        self._thread = threading.Thread(target=self._run, name="pulse", daemon=True)

    def __enter__(self) -> "Pulse[Seen]":
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        try:
            while not self.lost and not self._stop.wait(WATCH_SECONDS):
                self._once()
        finally:
            connection.close()

    def _once(self) -> None:
        now = time.monotonic()
        try:
            # every other tick at the least, so that a tick's jitter never makes a beat late
            if now - self._renewed + WATCH_SECONDS / 2 >= settings.HEARTBEAT_SECONDS:
                self._beat()
                self._renewed = now
            self.seen = self._watch()
        except LeaseLost:
            self.lost = True
        except Error as error:
            connection.close()  # a broken connection is replaced at the next tick
            log.warning("heartbeat: the database did not answer: %s", error)
            self.lost = now - self._renewed > settings.LEASE_SECONDS
