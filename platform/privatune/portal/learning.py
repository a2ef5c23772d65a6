"""What more rows would bring, as a page draws it: the losses of the trainings on fewer rows, and
those ahead with their intervals, over the rows on a scale of doublings."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, pgettext
from django.utils.translation import gettext_noop as _

from finetune.grading import learning
from finetune.grading.learning import Outlook

WIDTH, HEIGHT = 340.0, 150.0  # of the drawing, whose middle is left to it
LEFT, RIGHT, TOP, BOTTOM = 40.0, 316.0, 10.0, 124.0
SAID = {
    Outlook.FALLS: _(
        "Twice the rows (%(twice_rows)s) would bring the validation loss from %(now)s to "
        "%(twice)s (95%%: %(twice_low)s to %(twice_high)s), and four times the rows (%(four_rows)s)"
        " to %(four)s (%(four_low)s to %(four_high)s)."
    ),
    Outlook.FLAT: _(
        "More rows like these would bring next to nothing: four times as many (%(four_rows)s) "
        "would lower the validation loss, %(now)s, by %(most)s at most."
    ),
    Outlook.RISES: _(
        "More rows like these would do harm: the validation loss, %(now)s, is lower with fewer of "
        "them, and four times as many (%(four_rows)s) would raise it by %(least_harm)s at least."
    ),
    Outlook.UNSURE: _(
        "What more rows would bring cannot be told: by the trainings on fewer, four times the rows "
        "(%(four_rows)s) would leave the validation loss, %(now)s now, anywhere between "
        "%(four_low)s and %(four_high)s."
    ),
    Outlook.TOO_FEW: _(
        "What more rows would bring cannot be told: too few of the trainings on fewer rows gave a "
        "loss."
    ),
}


@dataclass(frozen=True)
class Dot:
    """`low`, `high`: of a loss ahead, whose interval is drawn; y grows downwards."""

    rows: int
    loss: str
    within: str
    x: float
    y: float
    low: float = 0.0
    high: float = 0.0

    @property
    def is_ahead(self) -> bool:
        return self.high > 0


def said(told: Mapping[str, Any] | None) -> str:
    """The sentence in the person's language; empty where there is no curve."""
    if not told:
        return ""
    _template, filling = learning.words(told)
    return gettext(SAID[Outlook(told["outlook"])]) % filling


def drawn(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """`report`: an artifact's. None: its job asked for no curve."""
    told = report.get("learning_curve")
    if not told:
        return None
    dots = _dots(told["points"], told["ahead"])
    return {
        "said": said(told),
        "dots": dots,
        "line": " ".join(f"{dot.x:.1f},{dot.y:.1f}" for dot in dots),
        "needed": [_needed(each) for each in told["needed"]],
        "top": f"{_highest(told):.3g}",
        "bottom": f"{_lowest(told):.3g}",
    }


def _dots(points: Sequence[Mapping[str, Any]], ahead: Sequence[Mapping[str, Any]]) -> list[Dot]:
    told = {"points": points, "ahead": ahead}
    least, most = _lowest(told), _highest(told)
    rows = [math.log2(each["rows"]) for each in (*points, *ahead)]

    def x(count: int) -> float:
        return LEFT + (RIGHT - LEFT) * (math.log2(count) - rows[0]) / max(rows[-1] - rows[0], 1e-9)

    def y(loss: float) -> float:
        return BOTTOM - (BOTTOM - TOP) * (loss - least) / max(most - least, 1e-9)

    now = [Dot(p["rows"], f"{p['loss']:#.4g}", "", x(p["rows"]), y(p["loss"])) for p in points]
    return now + [
        Dot(
            each["rows"],
            f"{each['loss']:#.4g}",
            "{:#.4g} – {:#.4g}".format(*each["interval"]),
            x(each["rows"]),
            y(each["loss"]),
            low=y(each["interval"][0]),
            high=y(each["interval"][1]),
        )
        for each in ahead
    ]


def _losses(told: Mapping[str, Any]) -> list[float]:
    ends = [end for each in told["ahead"] for end in each["interval"]]
    return [*ends, *(point["loss"] for point in told["points"])]


def _lowest(told: Mapping[str, Any]) -> float:
    return min(_losses(told))


def _highest(told: Mapping[str, Any]) -> float:
    return max(_losses(told))


def _needed(told: Mapping[str, Any]) -> dict[str, str]:
    low, high = map(_rows, told["interval"])
    return {
        "loss": f"{told['loss']:#.4g}",
        "rows": _rows(told["rows"]),
        "within": f"{low} – {high}",
    }


def _rows(rows: int | None) -> str:
    return pgettext("rows", "more than can be told") if rows is None else f"{rows:,}"
