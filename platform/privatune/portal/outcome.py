"""What became of the validation loss by training, in words with a sign: a model that got worse is
not shown as a gain, and what the comparison is worth is said beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext

SAME = 0.05  # percent: what would be shown as 0.0


@dataclass(frozen=True)
class Outcome:
    """`colour` as Tabler names it; empty where there is nothing to be glad or worried of.
    `overlap`: what is said before the figures of validation rows that were trained on."""

    words: str
    colour: str
    overlap: str = ""


def outcome(report: Mapping[str, Any]) -> Outcome | None:
    """None: nothing was measured on validation rows."""
    before, after = report.get("base_valid_loss"), report.get("valid_loss")
    if not before or after is None:
        return None
    change = 100 * (after - before) / before
    overlap = _overlap(report)
    if abs(change) < SAME:
        return Outcome(gettext("as the base's"), "", overlap)
    if change > 0:
        return Outcome(
            gettext("%(percent).1f%% higher: worse") % {"percent": change}, "red", overlap
        )
    # Rows that were trained on are known by heart: a lower loss over them is nothing to praise.
    colour = "" if overlap else "green"
    return Outcome(gettext("%(percent).1f%% lower: better") % {"percent": -change}, colour, overlap)


def _overlap(report: Mapping[str, Any]) -> str:
    shared, rows = report.get("valid_rows_in_training"), report.get("valid_rows")
    if not shared:
        return ""
    told = ngettext(
        "%(shared)s of the %(rows)s validation rows is in the training data, too: the validation "
        "loss flatters the model.",
        "%(shared)s of the %(rows)s validation rows are in the training data, too: the validation "
        "loss flatters the model.",
        shared,
    )
    return told % {"shared": shared, "rows": rows}
