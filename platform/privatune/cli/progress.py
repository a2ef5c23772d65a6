"""The live bar of a training job, fed with the data of its `metrics` events."""

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from privatune.cli.output import notes
from privatune.cli.pace import Clock, Pace


class JobBar:
    """Step, loss, tokens/s and time left; other lines are printed above it with `say`.

    Where there is no terminal, a line with the same is printed before 15 s of silence are over.
    """

    def __init__(
        self, title: str, console: Console | None = None, *, clock: Clock = time.monotonic
    ) -> None:
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            console=console or notes(),
        )
        self._title = title
        self._newest = ""  # what was told last: an event, or figures
        self._pace = Pace(clock)
        self._task: TaskID = self._bar.add_task(title, total=None, figures="waiting")

    @property
    def _is_live(self) -> bool:
        return self._bar.console.is_terminal

    def __enter__(self) -> Self:
        if self._is_live:
            self._bar.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._is_live:
            self._bar.stop()

    def say(self, line: str) -> None:
        self._newest = line
        self._print(line)

    def _print(self, line: str) -> None:
        self._bar.console.print(line, markup=False, soft_wrap=True)
        self._pace.said()

    def state(self, word: str) -> None:
        """What the job is at; behind the bar it stands until the first figures come."""
        if not self._bar.tasks[0].completed:
            self._bar.update(self._task, figures=word)
        if not self._is_live and self._pace.due():
            self._print(f"{self._title}: {self._newest or word} ({duration(self._pace.seconds)})")

    def metrics(self, data: Mapping[str, Any]) -> None:
        self._newest = f"step {data.get('step')} of {data.get('total_steps')} · {figures(data)}"
        self._bar.update(
            self._task,
            completed=data.get("step"),
            total=data.get("total_steps"),
            figures=figures(data),
        )


def figures(data: Mapping[str, Any]) -> str:
    """Like `loss 0.412 · 239 tokens/s · 1 min 20 s left`; what is unknown is left out."""
    parts = []
    if (loss := data.get("train_loss")) is not None:
        parts.append(f"loss {loss:.3f}")
    if (valid := data.get("valid_loss")) is not None:
        parts.append(f"valid {valid:.3f}")
    if (speed := data.get("tokens_per_second")) is not None:
        parts.append(f"{speed:.0f} tokens/s")
    if (left := data.get("seconds_left")) is not None:
        parts.append(f"{duration(left)} left")
    return " · ".join(parts)


def duration(seconds: float) -> str:
    """Like 45 s, 1 min 20 s, 2 h 5 min."""
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"
