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
    """What a bucket holds. `full_in` and `one_in`: seconds until it is full, until one is there."""

    limit: int
    left: float
    full_in: float
    one_in: float

    @property
    def share(self) -> float:
        return self.left / self.limit


class Buckets:
    """One bucket a name, `limit` large, filled in `seconds`."""

    def __init__(
        self, limit: int, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.limit = limit
        self._rate = limit / seconds
        self._clock = clock
        self._buckets: OrderedDict[str, Bucket] = OrderedDict()

    def look(self, name: str) -> Level:
        bucket = self._buckets.get(name)
        left = float(self.limit) if bucket is None else self._filled(bucket)
        full_in, one_in = (self.limit - left) / self._rate, max(0.0, 1 - left) / self._rate
        return Level(self.limit, left, full_in, one_in)

    def take(self, name: str) -> bool:
        """Takes one; False, and nothing taken, when there is none."""
        bucket = self._buckets.setdefault(name, Bucket(float(self.limit), self._clock()))
        self._buckets.move_to_end(name)
        bucket.left, bucket.seen = self._filled(bucket), self._clock()
        if len(self._buckets) > MOST:
            self._buckets.popitem(last=False)
        if bucket.left < 1:
            return False
        bucket.left -= 1
        return True

    def _filled(self, bucket: Bucket) -> float:
        return min(self.limit, bucket.left + (self._clock() - bucket.seen) * self._rate)
