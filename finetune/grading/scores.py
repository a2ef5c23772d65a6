"""A model's marks on a set of questions, and what the marks of two models say about them."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

from finetune.grading.graders import Grader
from finetune.grading.intervals import Interval, Pairs, newcombe, wilson


@dataclass(frozen=True)
class Score:
    """`right` has one mark a question; `interval` is the 95% Wilson interval of `accuracy`."""

    right: tuple[bool, ...]
    accuracy: float  # 0..1
    interval: Interval


class Verdict(StrEnum):
    """Of the second model against the first, in words that the interval bears out."""

    BETTER = "better"
    WORSE = "worse"
    UNDECIDED = "no difference shown"


@dataclass(frozen=True)
class Comparison:
    """`difference` is the second's accuracy minus the first's, with its paired 95% interval;
    `p_value` is McNemar's exact two-sided one."""

    pairs: Pairs
    difference: float
    interval: Interval
    p_value: float

    @property
    def verdict(self) -> Verdict:
        """An interval that reaches zero decides nothing."""
        low, high = self.interval
        if low > 0:
            return Verdict.BETTER
        return Verdict.WORSE if high < 0 else Verdict.UNDECIDED


def score(answers: Sequence[str], expected: Sequence[str], grader: Grader) -> Score:
    """Raises ValueError where answers and expected ones do not pair up, or there are none."""
    if not expected or len(answers) != len(expected):
        raise ValueError(f"{len(answers)} answers for {len(expected)} questions")
    right = tuple(grader(a, e) for a, e in zip(answers, expected, strict=True))
    return Score(right, sum(right) / len(right), wilson(sum(right), len(right)))


def compare(first: Score, second: Score) -> Comparison:
    """Of two scores on the same questions. Raises ValueError where the counts differ."""
    marks = list(zip(first.right, second.right, strict=True))
    pairs = Pairs(
        both=marks.count((True, True)),
        only_first=marks.count((True, False)),
        only_second=marks.count((False, True)),
        neither=marks.count((False, False)),
    )
    return Comparison(pairs, pairs.difference, newcombe(pairs), mcnemar(pairs))


def mcnemar(pairs: Pairs) -> float:
    """Two-sided exact p (McNemar 1947): the chance of so lopsided a split of the pairs that differ,
    were both models alike."""
    differ = pairs.only_first + pairs.only_second
    if differ == 0:
        return 1.0
    fewer = min(pairs.only_first, pairs.only_second)
    tail = sum(math.comb(differ, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << differ))
