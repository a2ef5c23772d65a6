"""Means of any figures with a 95% interval, and two models' figures of the same rows compared.

Drawn from the rows themselves (Efron 1979), by a fixed seed: the same figures say the same.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from finetune.grading.intervals import Interval

RESAMPLES = 10_000
FEWEST = 2  # of rows that have a spread at all
_DRAWN_AT_ONCE = 1 << 22  # numbers in memory
_DRAWN = 1 << 26  # in all: of very many rows fewer samples do
_FEWEST_RESAMPLES = 1_000
_SEED = 20_817

Figures = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Change:
    """The second's mean minus the first's over the same `rows`. `interval`: 95%, of the bootstrap
    over rows, None of a single row; `p_value`: two-sided, of the paired permutation test."""

    rows: int
    difference: float
    interval: Interval | None
    p_value: float

    @property
    def shown(self) -> bool:
        """Whether the interval leaves zero out: less would say nothing."""
        return self.interval is not None and (self.interval[0] > 0 or self.interval[1] < 0)


def interval_of_mean(values: Sequence[float]) -> Interval | None:
    """95%, percentiles of the bootstrap; None of fewer than two."""
    return _interval(_array(values), np.ones(len(values)))


def change(
    first: Sequence[float], second: Sequence[float], weights: Sequence[float] | None = None
) -> Change:
    """Of each row's sums in two models; `weights` is what each row's are divided by (tokens, say).
    Raises ValueError where the rows do not pair up, or there are none."""
    differences = _array(second) - _array(first) if len(first) == len(second) else _array([])
    if not len(differences):
        raise ValueError(f"{len(first)} and {len(second)} rows are no pairs")
    by = np.ones(len(differences)) if weights is None else _array(weights)
    mean = float(differences.sum() / by.sum())
    return Change(len(differences), mean, _interval(differences, by), _p_value(differences))


def _array(values: Sequence[float]) -> Figures:
    return np.asarray(values, dtype=np.float64)


def _interval(sums: Figures, by: Figures) -> Interval | None:
    rows = len(sums)
    if rows < FEWEST:
        return None
    random = np.random.default_rng(_SEED)
    means = []
    for count in _portions(rows):
        drawn = random.integers(0, rows, size=(count, rows))
        means.append(sums[drawn].sum(1) / by[drawn].sum(1))
    low, high = np.quantile(np.concatenate(means), (0.025, 0.975))
    return float(low), float(high)


def _p_value(differences: Figures) -> float:
    """How often signs drawn by lot make the difference as large (Fisher 1935): were both models
    alike, either could have had either's figure. All signs are tried where they are few."""
    rows = len(differences)
    least = abs(differences.sum()) * (1 - 1e-12)  # sums in another order may miss by a last bit
    if 1 << rows <= RESAMPLES:
        bits = np.arange(1 << rows)[:, None] >> np.arange(rows) & 1
        return float((np.abs((1 - 2 * bits) @ differences) >= least).mean())
    random, larger, drawn = np.random.default_rng(_SEED), 0, 0
    for count in _portions(rows):
        signs = 1 - 2 * random.integers(0, 2, size=(count, rows), dtype=np.int8)
        larger += int((np.abs(signs @ differences) >= least).sum())
        drawn += count
    return (larger + 1) / (drawn + 1)


def _portions(rows: int) -> list[int]:
    """How many samples to draw at once, until there are enough."""
    left, at_once = max(_FEWEST_RESAMPLES, min(RESAMPLES, _DRAWN // rows)), _DRAWN_AT_ONCE // rows
    counts = []
    while left:
        counts.append(min(left, max(1, at_once)))
        left -= counts[-1]
    return counts
