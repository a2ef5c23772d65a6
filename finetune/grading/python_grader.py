"""Runs a customer's Python grader in a sandbox: no network, no files, bounded memory and time."""

import fcntl
import json
import math
import os
import socket
import subprocess
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import IO, Any

from faults.nesting import NO_JSON
from finetune.grading.python_child import LONGEST_ANSWER
from finetune.sandbox.levels import Level
from finetune.sandbox.room import PACKAGE, Room
from finetune.sandbox.start import Child, start

SECONDS = 60
MEMORY_MB = 1024
TASKS = 64
ROOM = Room(memory_mb=MEMORY_MB, tree_mb=MEMORY_MB, tasks=TASKS, seconds=SECONDS)
ENVIRONMENT = {
    "HOME": "/tmp",  # noqa: S108  the sandbox's own, in memory
    "TMPDIR": "/tmp",  # noqa: S108
    "USER": "grader",
    "LANG": "C.UTF-8",
    "PYTHONPATH": str(PACKAGE.parent),
    "OMP_NUM_THREADS": "1",
}


@dataclass(frozen=True)
class Ran:
    """`error`: why there is no score; `ours` where the machine is at fault, and not the source."""

    score: float = 0.0
    error: str | None = None
    ours: bool = False


def run_python(
    source: str,
    sample: dict[str, Any],
    item: Any,
    *,
    level: Level,
    seconds: float = SECONDS,
) -> Ran:
    """`grade(sample, item)` of the source. Never without isolation, whatever else may be.
    `seconds`: what is left of SECONDS."""
    (ran,) = run_on_all(source, [(sample, item)], level=level, seconds=min(seconds, SECONDS))
    return ran


def run_on_all(
    source: str,
    asked: Sequence[tuple[dict[str, Any], Any]],
    *,
    level: Level,
    seconds: float,
    started: Callable[[Child], None] = lambda child: None,
) -> list[Ran]:
    """Of each (sample, item), one after the other, each in a fork of a process that has loaded the
    source. `seconds`: for all of them; an answer may take SECONDS, but nothing of the half that is
    kept for the others in equal shares. `started` is given each process, which may be killed
    meanwhile.

    An answer that ends more than its own process, or takes longer, is the last of that process; the
    next one goes on with those after it."""
    if level is Level.NONE:
        told = "This machine has no isolation for the code of strangers."
        return [Ran(error=told, ours=True) for _ in asked]
    ran: list[Ran] = []
    until = time.monotonic() + seconds
    while len(ran) < len(asked):
        left = asked[len(ran) :]
        with _process(source, left, level, until - time.monotonic(), started) as running:
            graded = running.graded(until, seconds / 2 / len(asked))
        ran += graded or [running.none(seconds) for _ in left]  # it did not even load
    return ran


@dataclass(frozen=True)
class _Process:
    child: Child
    answers: socket.socket
    asked: int
    read: bytearray = field(default_factory=bytearray)

    def graded(self, until: float, share: float) -> list[Ran]:
        """Of those that it came to, the last of which may have ended it."""
        ran: list[Ran] = []
        if self._line(until) is None:
            return ran
        for after in reversed(range(self.asked)):
            left = until - time.monotonic()
            patience = min(SECONDS, left, max(share, left - share * after))
            line = self._line(time.monotonic() + patience)
            if line is None:
                self.child.kill()
                if self.child.process.returncode or not ran:
                    ran.append(self.none(patience))
                break
            ran.append(_read(line) or self.none(patience))
        return ran

    def none(self, seconds: float) -> Ran:
        self.child.kill()
        return Ran(
            error=f"The grader ended without an answer (status {self.child.process.returncode}): "
            f"it took more than {max(seconds, 0):.0f} seconds or {MEMORY_MB} MB, or ended its own "
            "process."
        )

    def _line(self, until: float) -> bytes | None:
        """The next one; None where none comes any more, or not until then."""
        while b"\n" not in self.read:
            if (left := until - time.monotonic()) <= 0:
                return None
            self.answers.settimeout(left)
            try:
                more = self.answers.recv(LONGEST_ANSWER)
            except (TimeoutError, ConnectionResetError):
                return None
            if not more or len(self.read) > LONGEST_ANSWER:
                return None
            self.read.extend(more)
        line, _, rest = bytes(self.read).partition(b"\n")
        self.read[:] = rest
        return line


@contextmanager
def _process(
    source: str,
    asked: Sequence[tuple[dict[str, Any], Any]],
    level: Level,
    seconds: float,
    started: Callable[[Child], None],
) -> Iterator[_Process]:
    listed = [{"sample": sample, "item": item} for sample, item in asked]
    # A pipe could be opened anew, by way of a process that was handed it in starting the sandbox:
    # an answer would write what is read for those after it
    ours, theirs = socket.socketpair()
    with ours, _sealed(json.dumps({"source": source, "asked": listed}).encode()) as given:
        with theirs:
            child = start(
                level,
                replace(ROOM, seconds=max(seconds, 0.001)),  # 0 would be no bound
                "finetune.grading.python_child",
                [],
                cwd=Path("/"),
                environment=ENVIRONMENT,
                stdin=given.fileno(),
                stdout=theirs.fileno(),
                stderr=subprocess.DEVNULL,
            )
        try:
            started(child)
            yield _Process(child, ours, len(asked))
        finally:
            child.kill()


def _sealed(data: bytes) -> IO[bytes]:
    """To be read by a stranger's code: in memory, as a file of the disk would take whatever is
    written to it, and whoever is given one may open it anew to write."""
    file = os.fdopen(os.memfd_create("grader", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING), "w+b")
    file.write(data)
    file.seek(0)
    seals = fcntl.F_SEAL_WRITE | fcntl.F_SEAL_GROW | fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_SEAL
    fcntl.fcntl(file, fcntl.F_ADD_SEALS, seals)
    return file


def _text(said: Any) -> str:
    """Half a surrogate pair, which the source may have raised, is no text that can be kept."""
    return str(said).encode("utf-8", "replace").decode()


def _read(answer: bytes) -> Ran | None:
    """None for what is no answer."""
    try:
        told = json.loads(answer)  # the source may have written it itself
        if "score" not in told:
            return Ran(error=_text(told["error"]))
        if math.isfinite(score := float(told["score"])):
            return Ran(score=score)
        return Ran(error=f"The grader gave {score}, which is no finite number.")
    except (*NO_JSON, KeyError, TypeError, OverflowError):
        return None
