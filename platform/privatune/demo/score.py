"""How many held-out commands were answered exactly right, how sure that is, base against tuned."""

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

Z95 = 1.959963984540054  # two-sided 95% of the normal distribution


@dataclass(frozen=True)
class Score:
    """Shares in 0..1; `interval` is the 95% Wilson interval of `accuracy`."""

    rows: int
    right: tuple[bool, ...]
    accuracy: float
    interval: tuple[float, float]
    intent_accuracy: float


@dataclass(frozen=True)
class Comparison:
    """Paired on the same questions: tuned minus base, and McNemar's exact two-sided p."""

    only_base: int
    only_tuned: int
    difference: float
    interval: tuple[float, float]
    p_value: float


def score(answers: Sequence[str], calls: Sequence[str]) -> Score:
    """Compare answers with expected calls, as JSON values: spaces and key order do not count."""
    if not calls or len(answers) != len(calls):
        raise ValueError(f"{len(answers)} answers for {len(calls)} calls")
    read = [_call(answer) for answer in answers]
    wanted = [_call(call) for call in calls]
    right = tuple(a is not None and a == w for a, w in zip(read, wanted, strict=True))
    intents = sum(
        a is not None and w is not None and a.get("intent") == w["intent"]
        for a, w in zip(read, wanted, strict=True)
    )
    rows = len(calls)
    return Score(
        rows=rows,
        right=right,
        accuracy=sum(right) / rows,
        interval=wilson(sum(right), rows),
        intent_accuracy=intents / rows,
    )


def _call(text: str) -> dict[str, Any] | None:
    """The one JSON object that an answer is; None if it is anything else."""
    try:
        value = json.loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None


def wilson(right: int, rows: int, z: float = Z95) -> tuple[float, float]:
    """Wilson's score interval of a share (Wilson 1927); it stays inside 0..1, also at 0 of n."""
    share, squared = right / rows, z * z
    middle = (share + squared / (2 * rows)) / (1 + squared / rows)
    root = math.sqrt(share * (1 - share) / rows + squared / (4 * rows * rows))
    half = z * root / (1 + squared / rows)
    low = 0.0 if right == 0 else middle - half  # exactly, not to the last bit of a float
    high = 1.0 if right == rows else middle + half
    return low, high


def compare(base: Sequence[bool], tuned: Sequence[bool]) -> Comparison:
    """Newcombe's paired interval (1998, method 10) and McNemar's exact test."""
    rows = len(base)
    only_base = sum(b and not t for b, t in zip(base, tuned, strict=True))
    only_tuned = sum(t and not b for b, t in zip(base, tuned, strict=True))
    return Comparison(
        only_base=only_base,
        only_tuned=only_tuned,
        difference=(only_tuned - only_base) / rows,
        interval=_newcombe(sum(base), sum(tuned), only_base, only_tuned, rows),
        p_value=_mcnemar(only_base, only_tuned),
    )


def _mcnemar(only_base: int, only_tuned: int) -> float:
    """Two-sided: the chance of so lopsided a split of the pairs that differ, were both alike."""
    differ, fewer = only_base + only_tuned, min(only_base, only_tuned)
    if differ == 0:
        return 1.0
    tail = sum(math.comb(differ, k) for k in range(fewer + 1))
    return min(1.0, 2 * tail / (1 << differ))


def _newcombe(
    base: int, tuned: int, only_base: int, only_tuned: int, rows: int
) -> tuple[float, float]:
    p_base, p_tuned = base / rows, tuned / rows
    (low_b, high_b), (low_t, high_t) = wilson(base, rows), wilson(tuned, rows)
    phi = _phi(base, tuned, only_base, only_tuned, rows)
    difference = p_tuned - p_base
    down, up = (p_tuned - low_t, high_b - p_base), (high_t - p_tuned, p_base - low_b)
    return difference - _leg(*down, phi), difference + _leg(*up, phi)


def _leg(one: float, other: float, phi: float) -> float:
    return math.sqrt(max(0.0, one * one - 2 * phi * one * other + other * other))


def _phi(base: int, tuned: int, only_base: int, only_tuned: int, rows: int) -> float:
    """Correlation of the two marks, corrected for continuity as Newcombe does."""
    spread = base * (rows - base) * tuned * (rows - tuned)
    if spread == 0:
        return 0.0
    both = base - only_base
    neither = rows - both - only_base - only_tuned
    product = both * neither - only_base * only_tuned
    return (max(product - rows / 2, 0.0) if product > 0 else product) / math.sqrt(spread)
