"""How many pairs held out a reward model tells apart, as its page shows it: before and after, both
with their intervals, and the difference in words with a sign."""

from collections.abc import Mapping, Sequence
from typing import Any

from django.utils.translation import gettext

from privatune.portal.outcome import LEVEL

_HERE = "\N{NO-BREAK SPACE}"  # figures that belong together stay on a line


def preferred(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """None: it is no reward model, or no pairs were held out. Pairs that were trained on are known
    by heart: what is told of them is nothing to praise."""
    told = report.get("preferences")
    if not told:
        return None
    words, colour = _verdict(told)
    praised = not report.get("valid_rows_in_training")
    return {
        "pairs": told["pairs"],
        "before": _share(told["before"]),
        "after": _share(told["after"]),
        "words": words,
        "colour": colour if praised or colour == "red" else "",
    }


def _verdict(told: Mapping[str, Any]) -> tuple[str, str]:
    points = {"points": 100 * told["difference"]}
    low, high = told["interval"] or (0, 0)
    if low <= 0 <= high or told["p_value"] >= LEVEL:
        return gettext("%(points)+.1f points: no difference shown") % points, ""
    if low > 0:
        return gettext("%(points)+.1f points: better than before") % points, "green"
    return gettext("%(points)+.1f points: worse than before") % points, "red"


def _share(told: Mapping[str, Any]) -> str:
    low, high = _percent(told["interval"])
    return f"{100 * told['accuracy']:.1f}% ({low}{_HERE}–{_HERE}{high})"


def _percent(interval: Sequence[float]) -> list[str]:
    return [f"{100 * each:.1f}%" for each in interval]
