"""What an evaluation found, as a page draws it: sides and tags with their intervals, and the
verdict in the person's language."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext
from django.utils.translation import gettext_lazy as _

from faults import UserFault
from finetune.grading.abilities import Ability, Gap
from finetune.grading.advice import Decision, Reason
from finetune.grading.criteria import NAMED
from finetune.grading.intervals import chance
from finetune.models import Evaluation, Suite
from finetune.services.evaluations import reading
from privatune.portal import learning

SIDES: dict[str, Any] = {
    "base": _("base"),
    "base_with_examples": _("base with examples"),
    "model": _("your model"),
}
_HERE = "\N{NO-BREAK SPACE}"  # figures that belong together stay on a line
ROLES: dict[str, Any] = {
    "system": _("system"),
    "developer": _("developer"),
    "user": _("user"),
    "assistant": _("assistant"),
    "tool": _("tool"),
}
DECISIONS: dict[str, tuple[Any, str]] = {
    Decision.DEPLOY: (_("Worth putting to work"), "success"),
    Decision.MORE_DATA: (_("Cannot be told yet"), "warning"),
    Decision.DO_NOT: (_("Not worth putting to work"), "danger"),
}
CRITERIA: dict[str, Any] = {
    "exact": _("it is the reference, letter by letter"),
    "contains": _("it contains the reference, whatever the case"),
    "json": _("it is JSON of the same value"),
    "similar": _("it is similar to the reference (ROUGE-L from 0.5)"),
    "edits": _("it takes few edits to become the reference (similarity from 0.5)"),
    "tests": _("its Python passes the tests of the row (item.tests)"),
}
REASONS: dict[str, Any] = {
    Reason.TRAINED_ON: _(
        "More than one question in ten stands in what the model was trained or chosen with, which "
        "shows what it knows by heart. Bring rows that training has not seen."
    ),
    Reason.TOO_FEW_ROWS: _("There are fewer than 30 questions, too few to tell. Bring more."),
    Reason.TOO_MANY_ERRORS: _(
        "More than one answer in ten could not be had or graded, so the scores say little. See the "
        "errors of the answers."
    ),
    Reason.WORSE_THAN_BASE: _("Your model scores lower than the base."),
    Reason.NO_GAIN: _("Your model gains less than 5 percent over the base, if anything."),
    Reason.UNDECIDED: _(
        "No difference to the base is shown, nor is a gain ruled out. Train on more rows, or ask "
        "more questions."
    ),
    Reason.EXAMPLES_BETTER: _(
        "The base with a few examples in its prompt scores higher, without any training."
    ),
    Reason.EXAMPLES_AS_GOOD: _(
        "Your model is better than the base, but not shown to be better than the base with a few "
        "examples in its prompt. Train on more rows, or ask more questions."
    ),
    Reason.BETTER_THAN_BASE: _("Your model scores higher than the base."),
    Reason.BETTER_THAN_BOTH: _(
        "Your model scores higher than the base, and than the base with a few examples in its "
        "prompt."
    ),
}


@dataclass(frozen=True)
class Line:
    """A side, or a tag of one. `low`, `high`, `at`: of the plot, in percent of its width."""

    side: Any
    tag: str
    rows: int
    score: str
    within: str
    passed: int
    errored: int
    at: float
    low: float
    high: float
    change: str = ""
    colour: str = ""

    @property
    def width(self) -> float:
        return max(self.high - self.low, 0.5)


def verdict(report: Mapping[str, Any] | None) -> dict[str, Any] | None:
    """None: a model alone, or not evaluated to the end."""
    advice = (report or {}).get("advice")
    if not advice:
        return None
    words, colour = DECISIONS[advice["decision"]]
    return {
        "words": words,
        "colour": colour,
        "reason": REASONS[advice["reason"]],
        "rows": learning.said(advice.get("learning_curve")),
    }


def criteria(suite: Suite) -> list[str]:
    """When an answer is right: in the person's language, or by the name that somebody gave it."""
    known = [(each, CRITERIA[name]) for name, each in NAMED.items()]
    return [
        next((str(words) for named, words in known if named == each), str(each.get("name", "")))
        for each in suite.criteria
    ]


def lines(report: Mapping[str, Any] | None) -> list[Line]:
    sides = (report or {}).get("sides", {})
    changes = (report or {}).get("changes", {})
    return [
        _line(name, "", sides[side], changes.get(side))
        for side, name in SIDES.items()
        if side in sides
    ]


def attempts(report: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """How likely one of several answers passes, by side; none where one answer was asked for."""
    sides = (report or {}).get("sides", {})
    return [
        {
            "side": name,
            "k": each["k"],
            "value": f"{each['value']:.3f}",
            "within": "{:.3f} – {:.3f}".format(*each["interval"]) if each["interval"] else "–",
        }
        for side, name in SIDES.items()
        for each in sides.get(side, {}).get("pass_at", ())
    ]


def wins(report: Mapping[str, Any] | None) -> list[str]:
    """Against the base, by each reward model among the criteria."""
    return [_won(each) for each in (report or {}).get("wins", ())]


def _won(told: Mapping[str, Any]) -> str:
    if told["share"] is None:
        return gettext("%(name)s scores all answers as the base's.") % {"name": told["name"]}
    low, high = told["interval"]
    return gettext(
        "%(name)s prefers the model's answer to the base's in %(share)s of the questions where it "
        "tells them apart (95%% interval %(low)s to %(high)s; %(tied)s of %(rows)s are tied)."
    ) % {
        **told,
        "share": f"{told['share']:.1%}",
        "low": f"{low:.1%}",
        "high": f"{high:.1%}",
    }


def tag_lines(tags: Mapping[str, Any]) -> list[Line]:
    """By tag, so that the sides of one stand together."""
    names = dict.fromkeys(tag for side in SIDES for tag in tags.get(side, {}))
    return [
        _line(name, tag, tags[side][tag], None)
        for tag in names
        for side, name in SIDES.items()
        if tag in tags.get(side, {})
    ]


GAPS: dict[str, tuple[Any, str]] = {
    Gap.BRING_ROWS: (_("Bring rows: it is weak, and few rows teach it"), "red"),
    Gap.MEND_ROWS: (_("Look at its rows: it is weak, though many teach it"), "red"),
    Gap.WEAK: (_("Weak"), "red"),
    Gap.NOT_ASKED: (_("No question asks it"), "yellow"),
}


def ability_lines(found: Iterable[Ability]) -> list[dict[str, Any]]:
    return [
        {
            "tag": each.tag,
            "line": _ability(each) if each.score is not None else None,
            "base": "–" if each.base is None else f"{each.base:.3f}",
            "rows": each.rows,
            "gap": GAPS.get(each.gap),
        }
        for each in found
    ]


def _ability(ability: Ability) -> Line:
    told = {"rows": ability.asked, "score": ability.score, "interval": ability.interval}
    return _line("", ability.tag, told | {"passed": 0, "errored": 0}, None)


def _line(side: Any, tag: str, told: Mapping[str, Any], change: Mapping[str, Any] | None) -> Line:
    low, high = told["interval"] or (told["score"], told["score"])
    return Line(
        side=side,
        tag=tag,
        rows=told["rows"],
        score=f"{told['score']:.3f}",
        within=f"{low:.3f} – {high:.3f}" if told["interval"] else "–",
        passed=told["passed"],
        errored=told["errored"],
        at=100 * told["score"],
        low=100 * low,
        high=100 * high,
        change=_changed(change),
        colour=_colour(change),
    )


def _changed(change: Mapping[str, Any] | None) -> str:
    if not change:
        return ""
    low, high = change["interval"] or (None, None)
    within = "" if low is None else f" ({low:+.3f}{_HERE}–{_HERE}{high:+.3f})"
    p = chance(change["p_value"]).replace(" ", _HERE)
    return f"{change['difference']:+.3f}{within}, {p}"


def _colour(change: Mapping[str, Any] | None) -> str:
    """Of the model against the side; none where the interval reaches zero."""
    low, high = (change or {}).get("interval") or (0, 0)
    return "green" if low > 0 else "red" if high < 0 else ""


def compared(evaluation: Evaluation, others: Any) -> Iterator[dict[str, Any]]:
    """Other models on the same questions: their scores minus this one's."""
    for other in others:
        try:
            found = reading.compare(first=evaluation, second=other)
        except UserFault:  # one of them was not evaluated to the end
            continue
        yield {"other": other, "change": _changed(found), "colour": _colour(found)}
