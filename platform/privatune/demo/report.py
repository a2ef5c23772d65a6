"""What the demo found: on the screen for people, in report.json for programs."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.grading.graders import exact_call, same_intent
from finetune.grading.scores import Comparison, Score, compare, score
from privatune.demo.commands import HELDOUT_ROWS, Command

EXAMPLES = 8
LONGEST = 90  # characters of an answer that the table shows


@dataclass(frozen=True)
class Marked:
    """One model's answers to the held-out questions, and their marks."""

    name: str
    answers: list[str]
    exact: Score
    intent: Score

    @classmethod
    def of(cls, name: str, answers: list[str], commands: Sequence[Command]) -> Self:
        calls = [command.call for command in commands]
        return cls(
            name, answers, score(answers, calls, exact_call), score(answers, calls, same_intent)
        )


class Gain(BaseModel):
    """Of the tuned model over another on the same questions: difference of the accuracies, its
    paired 95% interval, McNemar's exact p, the verdict in words."""

    difference: float
    interval: tuple[float, float]
    p_value: float
    verdict: str

    @classmethod
    def of(cls, comparison: Comparison) -> Self:
        return cls(
            difference=comparison.difference,
            interval=comparison.interval,
            p_value=comparison.p_value,
            verdict=comparison.verdict,
        )


class Report(BaseModel):
    """report.json. Losses are mean nats per trained token; `interval` is the tuned model's 95%
    Wilson interval; `seconds` counts from the first command, without installation."""

    plan: str
    base_accuracy: float
    few_shot_accuracy: float
    tuned_accuracy: float
    interval: tuple[float, float]
    over_base: Gain
    over_few_shot: Gain
    heldout_rows: int
    base_loss: float
    tuned_loss: float
    verified: bool
    artifact: str
    seconds: float
    peak_memory_mb: float

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.model_dump(), indent=2) + "\n", encoding="utf-8")


def gain(before: Marked, tuned: Marked) -> Gain:
    return Gain.of(compare(before.exact, tuned.exact))


def side_by_side(console: Console, commands: Sequence[Command], marked: Sequence[Marked]) -> None:
    """The first held-out questions with every model's answer, right ones in green."""
    table = Table("command", title="The same held-out questions", show_lines=True)
    for model in marked:
        table.add_column(model.name, overflow="fold")
    for at, command in enumerate(commands[:EXAMPLES]):
        cells = (_cell(model.answers[at], right=model.exact.right[at]) for model in marked)
        table.add_row(escape(command.text), *cells)
    console.print(table)


def _cell(answer: str, *, right: bool) -> str:
    line = " ".join(answer.split())
    short = line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
    return f"[{'green' if right else 'red'}]{'✓' if right else '✗'} {escape(short)}[/]"


def figures(console: Console, report: Report, marked: Sequence[Marked]) -> None:
    table = Table("on the held-out questions", *(model.name for model in marked))
    losses = [f"{report.base_loss:.3f}", "–", f"{report.tuned_loss:.3f}"]
    table.add_row("loss (nats per token)", *losses)
    table.add_row("exactly right", *(_share(model.exact) for model in marked))
    table.add_row("right intent", *(f"{model.intent.accuracy:.1%}" for model in marked))
    console.print(table)
    *before, _ = marked
    for other, found in zip(before, (report.over_base, report.over_few_shot), strict=True):
        console.print(
            f"Tuned against {other.name}: {found.verdict}. {_points(found.difference)} exactly "
            f"right on the same {report.heldout_rows} questions (95% interval "
            f"{_points(found.interval[0])} to {_points(found.interval[1])}, paired; McNemar "
            f"p = {found.p_value:.1g}).",
            soft_wrap=True,
        )
    if report.heldout_rows < HELDOUT_ROWS:
        console.print(
            f"The {report.plan} plan asks {report.heldout_rows} of {HELDOUT_ROWS} questions: the "
            "intervals are wider than with all.",
            soft_wrap=True,
        )
    console.print(
        f"Signed artifact: {report.artifact} ({'verified offline' if report.verified else 'NO'})\n"
        f"{report.seconds:.0f} s without installation, "
        f"{report.peak_memory_mb:.0f} MB of memory at most.",
        soft_wrap=True,
    )


def _share(score: Score) -> str:
    low, high = score.interval
    return f"{score.accuracy:.1%}  (95%: {low:.1%} to {high:.1%})"


def _points(share: float) -> str:
    """Percentage points, signed."""
    return f"{100 * share:+.1f} points"
