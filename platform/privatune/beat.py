"""Celery's beat, on a clock that may be set back and a disk that may be full: what is forgotten is
looked for all the same.

Celery's own waits until the clock has caught up, an hour or a week, and keeps in its file that it
does, so a new start does not mend it. Of a full disk it writes a traceback at every beat, or ends.
"""

import logging
from collections.abc import Iterator
from typing import Any

from celery.beat import PersistentScheduler, SchedulingError

from faults.disk import is_full

log = logging.getLogger(__name__)


class SteadyScheduler(PersistentScheduler):  # type: ignore[misc]  # celery has no types
    """Takes whatever is said to have run later than now as having run now. Without room on the disk
    a beat is left out, and the next one is tried."""

    _latest: Any = None

    def tick(self, *arguments: Any, **named: Any) -> float:
        now = self.app.now()
        if self._latest is None or now < self._latest:
            for entry in self.schedule.values():
                entry.last_run_at = min(entry.last_run_at, entry.default_now())
            self._heap = None  # in the order of times that are not to come for long
        self._latest = now
        return float(super().tick(*arguments, **named))

    def apply_entry(self, entry: Any, producer: Any = None) -> None:
        try:
            self.apply_async(entry, producer=producer, advance=False)
        except SchedulingError as error:
            if any(map(is_full, _causes(error))):
                log.error("%s is not sent: the disk of the queue is full", entry.name)
            else:
                log.exception("%s is not sent", entry.name)

    def sync(self) -> None:
        """What is not written stays in memory, and is written by a later one."""
        try:
            super().sync()
        except OSError as error:
            if not is_full(error):
                raise
            log.error("beat's schedule is not written: the disk is full")


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
