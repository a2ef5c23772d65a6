"""Confidence intervals of a share of right answers, and of the difference of two shares."""

import math
from dataclasses import dataclass

Z95 = 1.959963984540054  # two-sided 95% of the normal distribution

Interval = tuple[float, float]


def wilson(right: int, count: int, z: float = Z95) -> Interval:
    """Wilson's score interval of a share (Wilson 1927); it stays inside 0..1, also at 0 of n."""
    share, squared = right / count, z * z
    middle = (share + squared / (2 * count)) / (1 + squared / count)
    root = math.sqrt(share * (1 - share) / count + squared / (4 * count * count))
    half = z * root / (1 + squared / count)
    low = 0.0 if right == 0 else middle - half  # exactly, not to the last bit of a float
    high = 1.0 if right == count else middle + half
    return low, high


@dataclass(frozen=True)
class Pairs:
    """Two models on the same questions: how many both, only one, or neither answered rightly."""

    both: int
    only_first: int
    only_second: int
    neither: int

    @property
    def count(self) -> int:
        return self.both + self.only_first + self.only_second + self.neither

    @property
    def first(self) -> int:
        return self.both + self.only_first

    @property
    def second(self) -> int:
        return self.both + self.only_second

    @property
    def difference(self) -> float:
        """The second's share minus the first's."""
        return (self.only_second - self.only_first) / self.count


def newcombe(pairs: Pairs) -> Interval:
    """95% interval of `pairs.difference`: the paired score interval of Newcombe (1998, Statistics
    in Medicine 17:2635, method 10). Wilson's intervals of both shares, joined by their correlation.
    """
    count, first, second = pairs.count, pairs.first, pairs.second
    p_first, p_second = first / count, second / count
    (low_f, high_f), (low_s, high_s) = wilson(first, count), wilson(second, count)
    phi = _phi(pairs)
    down, up = (p_second - low_s, high_f - p_first), (high_s - p_second, p_first - low_f)
    return pairs.difference - _leg(*down, phi), pairs.difference + _leg(*up, phi)


def _leg(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def _phi(pairs: Pairs) -> float:
    """Correlation of the two marks, corrected for continuity as Newcombe does."""
    count, first, second = pairs.count, pairs.first, pairs.second
    spread = first * (count - first) * second * (count - second)
    if spread == 0:
        return 0.0
    product = pairs.both * pairs.neither - pairs.only_first * pairs.only_second
    corrected = max(product - count / 2, 0.0) if product > 0 else product
    return corrected / math.sqrt(spread)


def chance(p_value: float) -> str:
    """A p-value as it is written: none is zero, however small."""
    return "p < 0.001" if p_value < 0.001 else f"p = {p_value:.3f}"
