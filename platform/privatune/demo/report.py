"""What the demo found: on the screen for people, in report.json for programs."""

import json
from collections.abc import Sequence
from pathlib import Path

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from privatune.demo.commands import Command
from privatune.demo.score import Comparison, Score

EXAMPLES = 8
LONGEST = 90  # characters of an answer that the table shows


class Report(BaseModel):
    """report.json. Losses are mean nats per trained token; `interval` is the tuned model's 95%
    Wilson interval; `seconds` counts from the first command, without installation."""

    base_accuracy: float
    tuned_accuracy: float
    interval: tuple[float, float]
    heldout_rows: int
    base_loss: float
    tuned_loss: float
    verified: bool
    artifact: str
    seconds: float
    peak_memory_mb: float

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.model_dump(), indent=2) + "\n", encoding="utf-8")


def side_by_side(
    console: Console, commands: Sequence[Command], base: Sequence[str], tuned: Sequence[str]
) -> None:
    """The first held-out questions with both answers, right ones in green."""
    table = Table("command", title="The same held-out questions", show_lines=True)
    table.add_column("base", overflow="fold")
    table.add_column("tuned", overflow="fold")
    for command, before, after in list(zip(commands, base, tuned, strict=True))[:EXAMPLES]:
        table.add_row(escape(command.text), _cell(before, command), _cell(after, command))
    console.print(table)


def _cell(answer: str, command: Command) -> str:
    line = " ".join(answer.split())
    short = line if len(line) <= LONGEST else f"{line[: LONGEST - 3]}..."
    colour = "green" if answer.strip() == command.call else "red"
    return f"[{colour}]{escape(short)}[/]"


def figures(console: Console, report: Report, base: Score, tuned: Score, both: Comparison) -> None:
    table = Table("on the held-out questions", "base", "tuned")
    table.add_row("loss (nats per token)", f"{report.base_loss:.3f}", f"{report.tuned_loss:.3f}")
    table.add_row("exactly right", _share(base), _share(tuned))
    table.add_row("right intent", f"{base.intent_accuracy:.1%}", f"{tuned.intent_accuracy:.1%}")
    console.print(table)
    low, high = both.interval
    console.print(
        f"On {report.heldout_rows} questions the tuned model is right {both.difference:+.1%} more "
        f"often (95% interval {low:+.1%} to {high:+.1%}, paired; McNemar p = {both.p_value:.1g})."
    )
    console.print(
        f"Signed artifact: {report.artifact} ({'verified offline' if report.verified else 'NO'})\n"
        f"{report.seconds:.0f} s without installation, "
        f"{report.peak_memory_mb:.0f} MB of memory at most."
    )


def _share(score: Score) -> str:
    low, high = score.interval
    return f"{score.accuracy:.1%}  (95%: {low:.1%} to {high:.1%})"
