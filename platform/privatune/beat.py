"""Celery's beat, on a clock that may be set back: what is forgotten is looked for all the same.

Celery's own waits until the clock has caught up, an hour or a week, and keeps in its file that it
does, so a new start does not mend it.
"""

from typing import Any

from celery.beat import PersistentScheduler


class SteadyScheduler(PersistentScheduler):  # type: ignore[misc]  # celery has no types
    """Takes whatever is said to have run later than now as having run now."""

    _latest: Any = None

    def tick(self, *arguments: Any, **named: Any) -> float:
        now = self.app.now()
        if self._latest is None or now < self._latest:
            for entry in self.schedule.values():
                entry.last_run_at = min(entry.last_run_at, entry.default_now())
            self._heap = None  # in the order of times that are not to come for long
        self._latest = now
        return float(super().tick(*arguments, **named))
