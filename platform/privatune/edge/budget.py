"""Bytes of request bodies in flight: of all callers together, and of each.

A body is counted from before it is spooled until its spool is gone from memory and disk.
"""

from collections import Counter
from threading import Lock

from finetune.api.problems import Problem, Refusal
from privatune.edge.refusals import too_many

WAIT = 5.0  # seconds after which it is worth trying again


class Budget:
    """Given back from the request's own thread, so under a lock."""

    def __init__(self, total: int, each: int) -> None:
        self._total = total
        self._each = each
        self._lock = Lock()
        self._held: Counter[str] = Counter()
        self.used = 0

    def take(self, owner: str, size: int) -> None:
        """Raises Refusal: 429 for the owner's own share, 503 when the server's is used up."""
        with self._lock:
            if self._held[owner] + size > self._each:
                raise too_many(
                    "too_many_bytes_in_flight",
                    "Too much is being sent at once by your organisation.",
                    WAIT,
                    fix="Send fewer files at a time.",
                )
            if self.used + size > self._total:
                raise Refusal(FULL)
            self._held[owner] += size
            self.used += size

    def give(self, owner: str, size: int) -> None:
        with self._lock:
            self._held[owner] -= size
            self.used -= size
            if not self._held[owner]:
                del self._held[owner]


FULL = Problem(
    503,
    "server_busy",
    "The server is taking in as much as it can hold.",
    fix="Try again in a moment.",
    retry_after=int(WAIT),
)


class Share:
    """What one request holds of a budget; grows with its body, and is given back once."""

    def __init__(self, budget: Budget, owner: str, spools: int) -> None:
        self._budget = budget
        self._owner = owner
        self._spools = spools
        self._size = 0

    def cover(self, size: int) -> None:
        """Holds at least `size` bytes of body."""
        more = size * self._spools - self._size
        if more > 0:
            self._budget.take(self._owner, more)
            self._size += more

    def close(self) -> None:
        size, self._size = self._size, 0
        self._budget.give(self._owner, size)
