"""`/healthz`: which of the parts that a web process leans on answer.

503 without the database: nothing can be answered then. Without broker or objects it is 200 and
`degraded`, with the part named: most requests are still answered, and every web process shares that
loss, so a balancer that took them all out would make it a whole one.
"""

import logging
import tempfile
from collections.abc import Callable
from concurrent.futures import Future, wait
from threading import Lock, Thread
from time import monotonic

import psycopg
from celery import current_app
from django.db import connection
from django.http import HttpRequest, JsonResponse

from faults.disk import is_full
from tenants.services.vaults import object_store
from tenants.vault.errors import StorageFull

log = logging.getLogger(__name__)

PATIENCE_SECONDS = 2  # the shortest that libpq's connect_timeout can be
FRESH_SECONDS = 2.0


class Part:
    """Looked at once at a time and told for a while, so that asking often costs nothing."""

    def __init__(self, name: str, look: Callable[[], None]) -> None:
        self.name = name
        self._look = look
        self._lock = Lock()
        self._found: Future[None] | None = None
        self._asked_at = 0.0

    def ask(self) -> "Future[None]":
        """Done when the part has answered; holds what went wrong."""
        with self._lock:
            old = monotonic() - self._asked_at > FRESH_SECONDS
            if self._found is None or (old and self._found.done()):
                self._found, self._asked_at = Future(), monotonic()
                Thread(target=self._run, args=(self._found,), daemon=True).start()
            return self._found

    def _run(self, found: "Future[None]") -> None:
        try:
            self._look()
        except Exception as error:
            log.warning("%s does not answer", self.name, exc_info=error)
            found.set_exception(error)
        else:
            found.set_result(None)


def _database() -> None:
    """By a connection of its own: those of the pool may all be busy, or broken unnoticed."""
    address = connection.get_connection_params() | {"connect_timeout": PATIENCE_SECONDS}
    with psycopg.connect(**address) as own:
        own.execute("SELECT 1")


def _broker() -> None:
    with current_app.connection_for_write(connect_timeout=PATIENCE_SECONDS) as broker:
        folder = (broker.transport_options or {}).get("data_folder_out")
        if folder is None:
            broker.ensure_connection(max_retries=1, interval_start=0, interval_step=0)
        else:
            with tempfile.TemporaryFile(dir=folder) as probe:  # which has no name there
                probe.write(bytes(4096))


def _objects() -> None:
    object_store().health()


PARTS = (Part("database", _database), Part("broker", _broker), Part("objects", _objects))


def healthz(request: HttpRequest) -> JsonResponse:
    asked = {part.name: part.ask() for part in PARTS}
    wait(asked.values(), timeout=PATIENCE_SECONDS)
    told = {name: _said(found) for name, found in asked.items()}
    down = [name for name, said in told.items() if said != "ok"]
    if "database" in down:
        return JsonResponse({"status": "down", **told}, status=503)
    return JsonResponse({"status": "degraded" if down else "ok", **told})


def _said(found: "Future[None]") -> str:
    """`full` is answered by making room, `unreachable` by looking at process, address and line."""
    if not found.done():
        return "unreachable"
    error = found.exception()
    if error is None:
        return "ok"
    return "full" if isinstance(error, StorageFull) or is_full(error) else "unreachable"
