"""What became of the validation loss by training, in words with a sign: a model that got worse is
not shown as a gain, and what the comparison is worth is said beside it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext, ngettext

from finetune.grading.intervals import chance

SAME = 0.05  # percent: what would be shown as 0.0
LEVEL = 0.05  # of the paired test, as the interval's 95%


@dataclass(frozen=True)
class Outcome:
    """`colour` as Tabler names it; empty where there is nothing to be glad or worried of.
    `overlap`: what is said before the figures of validation rows that were trained on; `within`:
    the change with its interval, where the rows were measured one by one."""

    words: str
    colour: str
    overlap: str = ""
    within: str = ""


# Objectives whose losses are means over tokens; of others they are over pairs or rows
OF_TOKENS = frozenset({"sft", "pretrain"})


def outcome(report: Mapping[str, Any], objective: str = "sft") -> Outcome | None:
    """None: nothing was measured on validation rows."""
    goes_on = "start_valid_loss" in report
    before = report.get("start_valid_loss" if goes_on else "base_valid_loss")
    after = report.get("valid_loss")
    if not before or after is None:
        return None
    change = 100 * (after - before) / before
    overlap = _overlap(report)
    within = _within(report, objective)
    if abs(change) < SAME:
        same = gettext("as before") if goes_on else gettext("as the base's")
        return Outcome(same, "", overlap, within)
    if _undecided(report):
        words = gettext("%(percent)+.1f%%: no difference shown") % {"percent": change}
        return Outcome(words, "", overlap, within)
    if change > 0:
        words = gettext("%(percent).1f%% higher: worse") % {"percent": change}
        return Outcome(words, "red", overlap, within)
    # Rows that were trained on are known by heart: a lower loss over them is nothing to praise.
    colour = "" if overlap else "green"
    words = gettext("%(percent).1f%% lower: better") % {"percent": -change}
    return Outcome(words, colour, overlap, within)


def _undecided(report: Mapping[str, Any]) -> bool:
    """The rows' own interval reaches zero, or they are so few that the paired test does not tell
    them from chance, however alike they are. Of older models, which have none, it is not known."""
    told = report.get("validation_change") or {}
    low, high = told.get("interval") or (1, 1)
    return bool(low <= 0 <= high or told.get("p_value", 0) >= LEVEL)


def _within(report: Mapping[str, Any], objective: str) -> str:
    told = report.get("validation_change") or {}
    if not told.get("interval"):
        return ""
    of_tokens = gettext(
        "%(difference)+.3f nats a token, 95%% interval %(low)+.3f to %(high)+.3f "
        "over %(rows)s rows; paired permutation test: %(p)s"
    )
    of_others = gettext(
        "the loss by %(difference)+.3f, 95%% interval %(low)+.3f to %(high)+.3f "
        "over %(rows)s rows; paired permutation test: %(p)s"
    )
    words = of_tokens if objective in OF_TOKENS else of_others
    low, high = told["interval"]
    return words % {**told, "low": low, "high": high, "p": chance(told["p_value"])}


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
