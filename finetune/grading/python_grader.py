"""Runs a customer's Python grader in a sandbox: no network, no files, bounded memory and time."""

import fcntl
import json
import math
import os
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
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
MOST_ANSWERED = 64 << 20  # bytes of all answers of one process
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
    """Of each (sample, item), one after the other, each in a fork of one process that has loaded
    the source. `seconds`: for all of them. `started` is given the process, which may be killed
    meanwhile."""
    if level is Level.NONE:
        told = "This machine has no isolation for the code of strangers."
        return [Ran(error=told, ours=True) for _ in asked]
    listed = [{"sample": sample, "item": item} for sample, item in asked]
    with _sealed(json.dumps({"source": source, "asked": listed}).encode()) as given:
        child = start(
            level,
            replace(ROOM, seconds=seconds),
            "finetune.grading.python_child",
            [],
            cwd=Path("/"),
            environment=ENVIRONMENT,
            stdin=given.fileno(),
            stderr=subprocess.DEVNULL,
        )
        started(child)
        try:
            assert child.process.stdout is not None
            most = min(LONGEST_ANSWER * len(asked), MOST_ANSWERED)
            answers = child.process.stdout.read(most)
        finally:
            child.kill()
    lines = answers.split(b"\n")
    return [
        _read(lines[at] if at < len(lines) else b"", child.process.returncode, seconds)
        for at in range(len(asked))
    ]


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


def _read(answer: bytes, code: int, seconds: float) -> Ran:
    try:
        told = json.loads(answer)  # the source may have written it itself
        if "score" not in told:
            return Ran(error=_text(told["error"]))
        if math.isfinite(score := float(told["score"])):
            return Ran(score=score)
        return Ran(error=f"The grader gave {score}, which is no finite number.")
    except (*NO_JSON, KeyError, TypeError, OverflowError):
        return Ran(
            error=f"The grader ended without an answer (status {code}): it took more than "
            f"{seconds:.0f} seconds or {MEMORY_MB} MB, or ended its own process."
        )
