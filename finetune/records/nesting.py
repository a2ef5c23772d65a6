"""Smaller and smaller parts of the rows to train, each within the next, for a learning curve: drawn
by lot, in the clusters that a split keeps together."""

import json
import random
from collections.abc import Collection, Sequence
from dataclasses import dataclass

from finetune.records.splitting import digest_of

SHARES = (1 / 16, 1 / 8, 1 / 4, 1 / 2)
FEWEST_PARTS = 3  # beside all rows: fewer points tell no curve
FEWEST_STEPS = 2  # of an epoch on the smallest part: below, it is no training like the others


@dataclass(frozen=True)
class Nested:
    """Row numbers from 0; the first `sizes[n]` of them are a part, and sizes ascend."""

    rows: tuple[int, ...]
    sizes: tuple[int, ...]

    @property
    def parts(self) -> list[list[int]]:
        """Each in the file's order."""
        return [sorted(self.rows[:size]) for size in self.sizes]

    @property
    def sha256(self) -> str:
        return digest_of([len(self.sizes), *self.sizes, *self.rows])

    def written(self) -> str:
        return json.dumps({"rows": self.rows, "sizes": self.sizes})

    @classmethod
    def read(cls, text: bytes) -> "Nested":
        """Raises ValueError, KeyError or TypeError for what was not written by `written`."""
        told = json.loads(text)
        return cls(tuple(told["rows"]), tuple(told["sizes"]))


def sizes_of(count: int, fewest: int) -> tuple[int, ...]:
    """About how many rows the parts of so many have, where those are not too few."""
    found = (round(share * count) for share in SHARES)
    return tuple(size for size in found if size >= fewest)


def nest(
    clusters: Sequence[Sequence[int]], *, but: Collection[int], seed: int, fewest: int
) -> Nested:
    """Of the rows in `clusters` that are not kept apart. A part takes, beside the one before, the
    clusters that still fit, in a drawn order; one that would be no larger is left out. So there may
    be fewer parts than were meant, or none."""
    apart = set(but)
    left = [cluster for cluster in clusters if not apart.intersection(cluster)]
    random.Random(f"privatune curve {seed}").shuffle(left)  # noqa: S311
    rows: list[int] = []
    sizes: list[int] = []
    for size in sizes_of(sum(map(len, left)), fewest):
        later: list[Sequence[int]] = []
        for cluster in left:
            if len(rows) + len(cluster) <= size:
                rows += cluster
            else:
                later.append(cluster)
        left = later
        if len(rows) >= fewest and len(rows) > (sizes[-1] if sizes else 0):
            sizes.append(len(rows))
    return Nested(tuple(rows[: sizes[-1]] if sizes else ()), tuple(sizes))
