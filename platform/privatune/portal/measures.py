"""What a training measures besides its loss, by method: the curves that a job's page draws, each
under its own name, and the newest figures as a table."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from django.utils.translation import gettext_lazy as _

from finetune.models import Job
from finetune.trainer.objectives import METHODS

LOSS = "loss"
# By the metric's name: what it is, in the words of whoever reads a chart
NAMES: dict[str, Any] = {
    "accuracy": _("token accuracy"),
    "rewards_accuracies": _("preferred answers favoured"),
    "rewards_margins": _("reward margin"),
    "rewards_chosen": _("reward of the better answers"),
    "rewards_rejected": _("reward of the other answers"),
    "logps_chosen": _("log-probability of the better answers"),
    "logps_rejected": _("log-probability of the other answers"),
    "kl": _("KL divergence from the base"),
    "nll_loss": _("loss of the better answers alone"),
    "log_odds_ratio": _("odds-ratio term"),
    "log_odds_chosen": _("log odds of the better answer"),
    "reward": _("reward"),
    "reward_std": _("spread of the rewards of a prompt"),
    "silent_groups": _("prompts whose answers are all worth the same"),
    "completion_length": _("length of the answers, in tokens"),
    "truncated": _("answers that were cut off"),
    "grader_errors": _("answers that could not be graded"),
    "clip_ratio": _("clipped tokens"),
    "nearest": _("queries nearest to their own text"),
    "pair_accuracy": _("documents judged rightly"),
}
SHARES = frozenset(
    {
        *("accuracy", "rewards_accuracies", "silent_groups", "truncated", "grader_errors"),
        *("clip_ratio", "nearest", "pair_accuracy"),
    }
)
# Beside the loss: a method's own measure of getting better, the first that it has
MAIN = ("accuracy", "rewards_accuracies", "reward", "rewards_margins", "nearest", "pair_accuracy")
# Drawn below, each group by one axis
GROUPS: tuple[tuple[str, Any, tuple[str, ...]], ...] = (
    (
        "rewards",
        _("Rewards of the answers"),
        ("rewards_chosen", "rewards_rejected", "rewards_margins"),
    ),
    (
        "logps",
        _("Log-probability of the answers"),
        ("logps_chosen", "logps_rejected"),
    ),
    ("kl", _("KL divergence from the base"), ("kl",)),
    ("odds", _("Parts of the loss"), ("nll_loss", "log_odds_ratio", "log_odds_chosen")),
    ("clip", _("Share of clipped tokens"), ("clip_ratio",)),
)
# Of a method that draws answers, what the chart of these answers shows
OF_ANSWERS = frozenset({"completion_length", "truncated", "silent_groups", "grader_errors", "kl"})
INKS = ("#0b6e4f", "#c2410c", "#0369a1", "#7c3aed", "#64748b", "#a16207")


@dataclass(frozen=True)
class Measured:
    """A metric as events call it in a step and over the validation rows. `valid`: None, of steps
    only."""

    name: str
    train: str
    valid: str | None

    @property
    def label(self) -> Any:
        return NAMES.get(self.name, self.name)


def measured(job: Job) -> list[Measured]:
    objective = METHODS[job.method]
    found = objective.told(job.requested.get("settings") or {}).metrics
    return [
        Measured(each.name, each.train_column, each.valid_column if each.evaluated else None)
        for each in found
    ]


def charts(job: Job) -> list[dict[str, Any]]:
    """For `curve.js`: the loss beside the method's own measure first, then each group that has
    something."""
    known = {each.name: each for each in measured(job)}
    if "generation" in METHODS[job.method].needs:
        known = {name: each for name, each in known.items() if name not in OF_ANSWERS}
    own = next((known[name] for name in MAIN if name in known), None)
    loss = Measured(LOSS, "train_loss", "valid_loss")
    first = _lines(loss, _("training loss"), _("validation loss"), inks=INKS[:2])
    if own is not None:
        first += _right(own, INKS[2:4])
    if "reward_std" in known:
        first += _right(known["reward_std"], (INKS[2], INKS[3]), dash=True)
    drawn = [_chart("curve", "", _("loss"), first, own=own)]
    for code, title, names in GROUPS:
        group = [known[name] for name in names if name in known and known[name] != own]
        if group:
            drawn.append(_chart(f"curve-{code}", title, "", _of(group)))  # the title says it
    return drawn


def _chart(
    at: str, title: Any, axis: Any, lines: list[dict[str, Any]], *, own: Measured | None = None
) -> dict[str, Any]:
    beside = {} if own is None else {"own": str(own.label), "share": own.name in SHARES}
    return {"at": at, "title": str(title), "axis": str(axis), "lines": lines, **beside}


def _right(each: Measured, inks: tuple[str, ...], **look: Any) -> list[dict[str, Any]]:
    """By the axis on the right."""
    trained, held_out = _sides(each)
    lines = _lines(each, trained, held_out, inks=inks)
    return [line | {"right": True} | look for line in lines]


def _of(group: list[Measured]) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = []
    for each in group:
        trained, held_out = _sides(each)
        lines += _lines(each, trained, held_out, inks=INKS[len(lines) :])
    return lines


def _sides(each: Measured) -> tuple[Any, Any]:
    return each.label, _("%(measure)s, validation") % {"measure": each.label}


def _lines(
    each: Measured, trained: Any, held_out: Any, *, inks: tuple[str, ...]
) -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = [{"of": each.train, "label": str(trained), "ink": inks[0]}]
    if each.valid:
        dotted = {"of": each.valid, "label": str(held_out), "ink": inks[1], "dots": True}
        lines.append(dotted)
    return lines


def figures(
    job: Job, latest: Mapping[str, Any], evaluated: Mapping[str, Any]
) -> list[tuple[Any, str, str]]:
    """(measure, of the newest step, of the newest evaluation) of each that was told."""
    found = [
        (each, latest.get(each.train), evaluated.get(each.valid or "")) for each in measured(job)
    ]
    return [
        (each.label, _told(each, step), _told(each, held_out))
        for each, step, held_out in found
        if step is not None or held_out is not None
    ]


def _told(each: Measured, value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.1%}" if each.name in SHARES else f"{value:.3f}"
