"""Whether a model that makes vectors, or ranks, finds more than its base did, as a page shows it:
both with their intervals, the difference in words with a sign."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from finetune.grading.intervals import chance
from privatune.portal.outcome import LEVEL

NAMES: dict[str, tuple[str, Any]] = {
    "ndcg@10": ("nDCG@10", _("how near the top what belongs to a query stands")),
    "mrr@10": ("MRR@10", _("one divided by the place of the first that belongs")),
    "recall@1": ("recall@1", _("share of what belongs that is found first")),
    "recall@5": ("recall@5", _("share that is among the first five")),
    "recall@10": ("recall@10", _("share that is among the first ten")),
}
_HERE = "\N{NO-BREAK SPACE}"  # figures that belong together stay on a line


@dataclass(frozen=True)
class Line:
    """A measure; `within` are intervals. `colour` is empty where there is nothing to be glad or
    worried of."""

    name: str
    meaning: Any
    base: str
    base_within: str
    tuned: str
    tuned_within: str
    change_within: str
    chance: str
    words: str
    colour: str


def searched(report: Mapping[str, Any]) -> dict[str, Any] | None:
    """None: no queries were held out. Queries that were trained on are known by heart: what is
    found of them is nothing to praise. The database keeps no order of the measures."""
    told = report.get("retrieval")
    if not told:
        return None
    praised = not report.get("valid_rows_in_training")
    measures = told["measures"]
    lines = [_line(name, measures[name], praised) for name in NAMES if name in measures]
    reranked = told.get("reranked", False)
    counts = {"queries": told["queries"], "documents": told["documents"]}
    return {**counts, "reranked": reranked, "lines": lines}


def _line(name: str, told: Mapping[str, Any], praised: bool) -> Line:
    label, meaning = NAMES[name]
    words, colour = _verdict(told)
    return Line(
        name=label,
        meaning=meaning,
        base=f"{told['base']:.3f}",
        base_within=_within(told.get("base_interval"), ".3f"),
        tuned=f"{told['tuned']:.3f}",
        tuned_within=_within(told.get("tuned_interval"), ".3f"),
        change_within=_within(told["interval"], "+.3f"),
        chance=chance(told["p_value"]).replace(" ", _HERE),
        words=words,
        colour=colour if praised or colour == "red" else "",
    )


def _verdict(told: Mapping[str, Any]) -> tuple[str, str]:
    low, high = told["interval"] or (0, 0)
    if low <= 0 <= high or told["p_value"] >= LEVEL:
        return gettext("%(difference)+.3f: no difference shown") % told, ""
    if low > 0:
        return gettext("%(difference)+.3f: better than the base") % told, "green"
    return gettext("%(difference)+.3f: worse than the base") % told, "red"


def _within(interval: Sequence[float] | None, form: str) -> str:
    """Empty where there is none: of a single query, or a model from before they were measured."""
    return f"{interval[0]:{form}}{_HERE}–{_HERE}{interval[1]:{form}}" if interval else ""
