"""Open streams, counted per person and per tenant; for one process, from any of its threads."""

from collections import Counter
from threading import Lock

from faults import UserFault


class TooManyStreams(UserFault):
    status = 429
    retry_after = 5  # seconds


class Slot:
    """One open stream. `leave` may be called by whoever notices first that it has ended."""

    def __init__(self, slots: "Slots", names: tuple[str, ...]) -> None:
        self._slots = slots
        self._names = names

    def leave(self) -> None:
        names, self._names = self._names, ()
        self._slots.free(names)


class Slots:
    def __init__(self, *, each_person: int, each_tenant: int) -> None:
        self._limits = (each_person, each_tenant)
        self._open: Counter[str] = Counter()
        self._lock = Lock()

    def enter(self, *, person: str, tenant: str) -> Slot:
        """Raises TooManyStreams (429) beyond a limit."""
        names = (f"person {person} in {tenant}", f"tenant {tenant}")
        with self._lock:
            for name, limit in zip(names, self._limits, strict=True):
                if self._open[name] >= limit:
                    raise TooManyStreams(
                        "too_many_streams",
                        f"There are {limit} live views open already.",
                        fix="Close a page that watches a job, then load this one again.",
                    )
            self._open.update(names)
        return Slot(self, names)

    def free(self, names: tuple[str, ...]) -> None:
        with self._lock:
            self._open.subtract(names)
            for name in names:
                if not self._open[name]:
                    del self._open[name]
