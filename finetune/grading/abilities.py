"""By ability, which is a tag: what a model scores, and how many training rows teach it. Where it is
weak and its data is thin, rows are missing; where it is weak all the same, rows are bad."""

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum
from statistics import median
from typing import Any

THIN = 0.5  # of the median of the abilities asked about: fewer rows are few


class Gap(StrEnum):
    NONE = ""
    BRING_ROWS = "bring_rows"  # weak, and few rows teach it
    MEND_ROWS = "mend_rows"  # weak, though as many rows teach it as others
    WEAK = "weak"  # weak; the training rows were not counted
    NOT_ASKED = "not_asked"  # taught, and no question asks it


@dataclass(frozen=True)
class Ability:
    """`asked`: questions with the tag; `rows`: training rows with it, None: not counted."""

    tag: str
    asked: int
    score: float | None
    interval: list[float] | None
    base: float | None
    rows: int | None
    gap: Gap


def abilities(
    model: Mapping[str, Any],
    base: Mapping[str, Any],
    rows: Mapping[str, int] | None,
    *,
    overall: float,
) -> list[Ability]:
    """`model` and `base`: figures by tag (marks.by_tag). Weak: the whole interval lies below
    `overall`, the model's score over all questions. Those to be mended first, then the lowest
    scores."""
    few = THIN * median((rows or {}).get(tag, 0) for tag in model) if model else 0
    found = []
    for tag in dict.fromkeys([*model, *(rows or {})]):
        told = model.get(tag)
        count = rows.get(tag, 0) if rows is not None else None
        found.append(
            Ability(
                tag=tag,
                asked=told["rows"] if told else 0,
                score=told["score"] if told else None,
                interval=told["interval"] if told else None,
                base=base[tag]["score"] if tag in base else None,
                rows=count,
                gap=_gap(told, count, few=few, overall=overall),
            )
        )
    return sorted(found, key=_order)


def _gap(told: Any, rows: int | None, *, few: float, overall: float) -> Gap:
    if told is None:
        return Gap.NOT_ASKED
    if not told["interval"] or told["interval"][1] >= overall:
        return Gap.NONE
    if rows is None:
        return Gap.WEAK
    return Gap.BRING_ROWS if not rows or rows < few else Gap.MEND_ROWS


def _order(ability: Ability) -> tuple[bool, bool, float, str]:
    weak = ability.gap in (Gap.BRING_ROWS, Gap.MEND_ROWS, Gap.WEAK)
    score = 2.0 if ability.score is None else ability.score
    return (not weak, ability.gap == Gap.NOT_ASKED, score, ability.tag)
