"""Peak memory of the demo and everything it started, sampled while it runs."""

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Self

import psutil

SECONDS_BETWEEN = 1.0
MB = 1024 * 1024


class MemoryWatch:
    """`peak_mb` is the highest sum of proportional set sizes seen: a page that several processes
    share is counted once, divided among them."""

    def __init__(self, data: Path, *, every: float = SECONDS_BETWEEN) -> None:
        self._every = every
        self._postmaster = data / "pg" / "postmaster.pid"
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._sample, name="memory", daemon=True)
        self.peak_mb = 0.0

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _sample(self) -> None:
        while not self._stop.wait(self._every):
            self.peak_mb = max(self.peak_mb, self.now_mb())

    def now_mb(self) -> float:
        return sum(_pss(process) for process in self._processes()) / MB

    def _processes(self) -> Iterator[psutil.Process]:
        """Our own tree, and PostgreSQL's, which detaches itself from it."""
        for root in (psutil.Process(), self._postgres()):
            if root is None:
                continue
            yield root
            try:
                yield from root.children(recursive=True)
            except psutil.NoSuchProcess:
                continue

    def _postgres(self) -> psutil.Process | None:
        try:
            return psutil.Process(int(self._postmaster.read_text().split("\n", 1)[0]))
        except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
            return None


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except (psutil.NoSuchProcess, psutil.AccessDenied):
        return 0  # it ended between being listed and being read
