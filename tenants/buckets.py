"""Token buckets: so many at once, refilled at a steady rate. For one event loop, no locks."""

import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

MOST = 20_000  # buckets kept; the one longest unused is full again and can be forgotten


@dataclass
class Bucket:
    left: float
    seen: float


@dataclass(frozen=True)
class Level:
    """What a bucket holds. `rate`: how many come back in a second."""

    limit: int
    left: float
    rate: float

    @property
    def share(self) -> float:
        return self.left / self.limit

    @property
    def full_in(self) -> float:
        return self.wait_for(self.limit)

    def wait_for(self, amount: float) -> float:
        """Seconds until so many are there."""
        return max(0.0, amount - self.left) / self.rate


class Buckets:
    """One bucket a name, filled in `seconds`. `limit` is each one's size, unless a call gives the
    name's own."""

    def __init__(
        self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._limit = limit
        self._seconds = seconds
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def look(self, name: str, *, limit: int | None = None) -> Level:
        size = limit or self._limit
        bucket = self._buckets.get(name)
        left = float(size) if bucket is None else self._filled(bucket, size)
        return Level(size, left, size / self._seconds)

    def take(self, name: str, amount: int = 1, *, limit: int | None = None) -> bool:
        """Takes so many; False, and nothing taken, when there are fewer."""
        bucket = self._touched(name, limit or self._limit)
        if bucket.left < amount:
            return False
        bucket.left -= amount
        return True

    def give(self, name: str, amount: int, *, limit: int | None = None) -> None:
        """Puts back what was taken and not needed."""
        size = limit or self._limit
        bucket = self._touched(name, size)
        bucket.left = min(float(size), bucket.left + amount)

    def _touched(self, name: str, size: int) -> Bucket:
        bucket = self._buckets.setdefault(name, Bucket(float(size), self._clock()))
        self._buckets.move_to_end(name)
        bucket.left, bucket.seen = self._filled(bucket, size), self._clock()
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        return bucket

    def _filled(self, bucket: Bucket, size: int) -> float:
        return min(size, bucket.left + (self._clock() - bucket.seen) * size / self._seconds)


def duration(seconds: float) -> str:
    """As OpenAI writes it: `20ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{int(rest)}s" if minutes else f"{rest:.3g}s"
