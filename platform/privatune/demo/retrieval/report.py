"""What the search found before and after: on the screen for people, in report.json for programs."""

import json
from pathlib import Path
from typing import Self

from pydantic import BaseModel
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from finetune.grading.intervals import Interval, chance
from finetune.grading.resampling import change, interval_of_mean
from finetune.grading.retrieval import MEASURES
from privatune.demo.retrieval.rows import Searches
from privatune.demo.retrieval.searching import Searched

DECIDES = MEASURES[0]
EXAMPLES = 8


class Measure(BaseModel):
    """Means over the queries with 95% intervals, and the tuned model's minus the base's, paired."""

    base: float
    base_interval: Interval | None
    tuned: float
    tuned_interval: Interval | None
    difference: float
    interval: Interval | None
    p_value: float

    @classmethod
    def of(cls, base: list[float], tuned: list[float]) -> Self:
        found = change(base, tuned)
        return cls(
            base=sum(base) / len(base),
            base_interval=interval_of_mean(base),
            tuned=sum(tuned) / len(tuned),
            tuned_interval=interval_of_mean(tuned),
            difference=found.difference,
            interval=found.interval,
            p_value=found.p_value,
        )

    @property
    def gained(self) -> bool:
        """Whether the interval leaves zero out, on the good side."""
        return self.interval is not None and self.interval[0] > 0


class Report(BaseModel):
    """report.json. `seconds` counts from the first command, without installation."""

    train_rows: int
    queries: int
    documents: int
    measures: dict[str, Measure]
    verified: bool
    artifact: str
    seconds: float
    peak_memory_mb: float

    @property
    def gained(self) -> bool:
        return self.measures[DECIDES].gained

    @property
    def verdict(self) -> str:
        found = self.measures[DECIDES]
        lost = found.interval is not None and found.interval[1] < 0
        unsure = "finds less than the base" if lost else "is not shown to find more"
        words = "finds more than the base" if self.gained else unsure
        return (
            f"The tuned model {words}: {DECIDES} {found.difference:+.3f}, {chance(found.p_value)}."
        )

    def write(self, path: Path) -> None:
        path.write_text(json.dumps(self.model_dump(), indent=2) + "\n", encoding="utf-8")


def compared(base: Searched, tuned: Searched) -> dict[str, Measure]:
    return {name: Measure.of(base.figures[name], tuned.figures[name]) for name in MEASURES}


def side_by_side(console: Console, searches: Searches, sides: tuple[Searched, Searched]) -> None:
    """The first held-out commands with what each side found first, right ones in green."""
    table = Table("command", title="Of which kind of call is it?", show_lines=True)
    for side in sides:
        table.add_column(side.name, overflow="fold")
    for number, own in enumerate(searches.belonging()[:EXAMPLES]):
        found = [side.first[number] for side in sides]
        cells = (_cell(searches.documents[at], right=at in own) for at in found)
        table.add_row(escape(searches.heldout[number].text), *cells)
    console.print(table)


def _cell(document: str, *, right: bool) -> str:
    """The intent and its slots on a line each: a column of a narrow terminal holds either."""
    words = document.removeprefix("Hass").replace("(", "\n(", 1)
    return f"[{'green' if right else 'red'}]{'✓' if right else '✗'} {escape(words)}[/]"


def figures(console: Console, report: Report) -> None:
    table = Table(
        *("measure", "base", "tuned", "tuned minus base", "paired test"),
        title="What it finds, with 95% intervals",
        show_lines=True,
    )
    for name, each in report.measures.items():
        table.add_row(
            name,
            _mean(each.base, each.base_interval),
            _mean(each.tuned, each.tuned_interval),
            f"{each.difference:+.3f}{_within(each.interval, '+.3f')}",
            chance(each.p_value),
        )
    console.print(table)
    console.print(
        f"{report.verdict}\n"
        f"Means over {report.queries} held-out commands, each searching among {report.documents} "
        "kinds of call; intervals by bootstrap over commands.\n"
        f"Signed artifact: {report.artifact} ({'verified offline' if report.verified else 'NO'})\n"
        f"{report.seconds:.0f} s without installation, "
        f"{report.peak_memory_mb:.0f} MB of memory at most.",
        soft_wrap=True,
        markup=False,
    )


def _mean(value: float, interval: Interval | None) -> str:
    return f"{value:.3f}{_within(interval, '.3f')}"


def _within(interval: Interval | None, form: str) -> str:
    return f"\n{interval[0]:{form}} to {interval[1]:{form}}" if interval else ""
