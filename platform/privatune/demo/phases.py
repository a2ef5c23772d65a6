"""What the demo shows while it waits: a live line in a terminal, elsewhere a line in time."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.markup import escape
from rich.progress import Progress

from privatune.cli.pace import Clock, Pace
from privatune.cli.progress import duration

LOOK_SECONDS = 1.0


class Phase:
    """A stretch of waiting: what `source` tells stands in a terminal's last line, and elsewhere is
    printed with the seconds gone by.

    `source` is asked every second, from a thread; it reads what the work has written so far.
    """

    def __init__(
        self, console: Console, source: Callable[[], str], *, clock: Clock = time.monotonic
    ) -> None:
        self._console = console
        self._source = source
        self._pace = Pace(clock)
        self._live = console.status("") if console.is_terminal else None
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="phase", daemon=True)

    def __enter__(self) -> Self:
        if self._live is not None:
            self._live.start()
        self._thread.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._done.set()
        self._thread.join()
        if self._live is not None:
            self._live.stop()

    def _watch(self) -> None:
        while not self._done.wait(LOOK_SECONDS):
            self.look()

    def look(self) -> None:
        """One glance at the work: a new last line in a terminal, a printed one when it is due."""
        if self._live is not None:
            self._live.update(escape(self._line()))
        elif self._pace.due():
            self._console.print(self._line(), markup=False, soft_wrap=True)
            self._pace.said()

    def _line(self) -> str:
        return f"{self._source()} ({duration(self._pace.seconds)})"


@contextmanager
def counted(
    console: Console, what: str, total: int, *, clock: Clock = time.monotonic
) -> Iterator[Callable[[], None]]:
    """Gives a function to call for each one done: a bar in a terminal, elsewhere lines like
    `what: 40 of 200 (1 min 5 s)`."""
    if console.is_terminal:
        with Progress(console=console) as bar:
            task = bar.add_task(what, total=total)
            yield lambda: bar.advance(task)
        return
    done = 0
    lock = threading.Lock()

    def one_more() -> None:
        nonlocal done
        with lock:
            done += 1

    with Phase(console, lambda: f"{what}: {done} of {total}", clock=clock):
        yield one_more
    console.print(f"{what}: {done} of {total}", markup=False, soft_wrap=True)
