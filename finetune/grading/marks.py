"""The marks of one side (a model, asked in one way) on a suite, and what they say together."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from finetune.grading.intervals import Interval, Pairs, newcombe, wilson
from finetune.grading.resampling import Change, change, interval_of_mean
from finetune.grading.scores import mcnemar

DIGITS = 6  # that are kept of a score


@dataclass(frozen=True)
class Mark:
    """`score`: 0..1, the mean over the criteria; `passed`: all of them; `errored`: no answer or no
    grade could be had, which scores 0. `by`: (score, passed) of each criterion."""

    score: float
    passed: bool
    errored: bool = False
    by: Mapping[str, tuple[float, bool]] = field(default_factory=dict)


def summary(marks: Sequence[Mark]) -> dict[str, Any]:
    scores = [mark.score for mark in marks]
    errored = sum(mark.errored for mark in marks)
    passed = sum(mark.passed for mark in marks)
    return {
        "rows": len(marks),
        "score": round(sum(scores) / len(scores), DIGITS),
        "interval": rounded(interval(scores)),
        "passed": passed,
        "failed": len(marks) - passed - errored,
        "errored": errored,
    }


def criteria(marks: Sequence[Mark]) -> list[dict[str, Any]]:
    """Of each, in their own order, over the rows that it could be asked of."""
    names = dict.fromkeys(name for mark in marks for name in mark.by)
    return [
        _criterion(name, [mark.by[name] for mark in marks if name in mark.by]) for name in names
    ]


def _criterion(name: str, found: Sequence[tuple[float, bool]]) -> dict[str, Any]:
    passed = sum(ok for _, ok in found)
    mean = round(sum(score for score, _ in found) / len(found), DIGITS)
    return {"name": name, "score": mean, "passed": passed, "failed": len(found) - passed}


def by_tag(marks: Sequence[Mark], tags: Sequence[Iterable[str]]) -> dict[str, Any]:
    grouped: dict[str, list[Mark]] = {}
    for mark, its in zip(marks, tags, strict=True):
        for tag in its:
            grouped.setdefault(tag, []).append(mark)
    return {tag: summary(found) for tag, found in sorted(grouped.items())}


def interval(scores: Sequence[float]) -> Interval | None:
    """95%, of their mean. Of marks that are right or wrong Wilson's: drawing again from rows that
    are all alike would leave it no width."""
    if _all_or_nothing(scores):
        return wilson(round(sum(scores)), len(scores))
    return interval_of_mean(scores)


def compare(first: Sequence[float], second: Sequence[float]) -> Change:
    """The second's mean score minus the first's, on the same rows in the same order. Of right and
    wrong Newcombe's interval and McNemar's exact test, of other scores by drawing again."""
    if not (first and len(first) == len(second)):
        raise ValueError(f"{len(first)} and {len(second)} rows are no pairs")
    if not (_all_or_nothing(first) and _all_or_nothing(second)):
        return change(first, second)
    both = list(zip(first, second, strict=True))
    pairs = Pairs(
        both=both.count((1, 1)),
        only_first=both.count((1, 0)),
        only_second=both.count((0, 1)),
        neither=both.count((0, 0)),
    )
    return Change(pairs.count, pairs.difference, newcombe(pairs), mcnemar(pairs))


def wins(first: Sequence[float], second: Sequence[float]) -> dict[str, Any]:
    """How often the second's answer scores higher than the first's to the same question; the share
    and its interval (Wilson) are of those that are not tied."""
    won = sum(after > before for before, after in zip(first, second, strict=True))
    tied = sum(after == before for before, after in zip(first, second, strict=True))
    decided = len(first) - tied
    return {
        "rows": len(first),
        "won": won,
        "tied": tied,
        "share": round(won / decided, DIGITS) if decided else None,
        "interval": rounded(wilson(won, decided)) if decided else None,
    }


def told(found: Change) -> dict[str, Any]:
    return {
        "rows": found.rows,
        "difference": round(found.difference, DIGITS),
        "interval": rounded(found.interval),
        "p_value": found.p_value,
    }


def _all_or_nothing(scores: Sequence[float]) -> bool:
    return all(score in (0, 1) for score in scores)


def rounded(found: Interval | None) -> list[float] | None:
    return None if found is None else [round(end, DIGITS) for end in found]
