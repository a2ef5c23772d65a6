"""Runs a check, or other work on a file's rows, in a child process that cannot take more memory or
time than it is given.

What comes in is a stranger's file: a parser that is tricked into eating everything takes down
one child and not the worker.
"""

import json
import os
import queue
import signal
import threading
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import IO

from pydantic import BaseModel

import finetune
from faults import Fault, OurFault, UserFault, from_dict
from faults.disk import DiskFull
from finetune.records.check.bounds import memory_fault
from finetune.records.check.pool import OUT_OF_MEMORY
from finetune.records.check.run import ERRORS, REPORT, ROWS, TOKENS
from finetune.records.check.spec import CheckReport, CheckSpec
from finetune.sandbox.groups import ended_for_memory
from finetune.sandbox.left import require_plain
from finetune.sandbox.levels import Level
from finetune.sandbox.room import Room
from finetune.sandbox.start import Child, start_loaded
from finetune.states import ENDED_FOR, ExitCode

Progress = Callable[[int, int, int], None]  # bytes of the source read, its size, rows taken

LOADED = (
    "finetune.records.check.bounds:do_without_torch",  # before what follows looks for it
    "finetune.records.check.run",
    "tokenizers",
    "transformers.models.auto.tokenization_auto",
    "transformers.utils.chat_template_utils",
)
AROUND_MB = 256  # of the sandbox around it, and stacks: what its own limit does not count
_STDERR_KEPT = 64 * 1024
_SILENCE = 1.0  # seconds after which the progress is told again


def check_in_child(
    spec: CheckSpec,
    out_dir: Path,
    *,
    memory_mb: int = 2048,
    seconds: int = 1800,
    progress: Progress | None = None,
    level: Level,
) -> CheckReport:
    """Check the source; leaves what `run_check` does in out_dir.

    `memory_mb` bounds the child's data, `seconds` its processor time and the wall clock; `level` is
    how it is kept apart: it reads the source and the tokenizer and writes out_dir.
    An exception out of `progress`, which is called at least each second, ends the child and goes on
    to the caller, so it can cancel.
    Raises UserFault with a code of `codes.LIMIT_CODES`, OurFault `check_crashed`, or DiskFull.
    """
    read = (spec.source, *([spec.tokenizer_dir] if spec.tokenizer_dir else []))
    run_in_child(
        "finetune.records.check",
        "check",
        spec,
        out_dir,
        read=read,
        leaves=(ROWS, TOKENS, ERRORS, REPORT),
        memory_mb=memory_mb,
        seconds=seconds,
        progress=progress,
        level=level,
    )
    return CheckReport.model_validate_json((out_dir / REPORT).read_bytes())


def run_in_child(
    module: str,
    work: str,
    spec: BaseModel,
    out_dir: Path,
    *,
    read: tuple[Path, ...],
    leaves: tuple[str, ...],
    memory_mb: int,
    seconds: int,
    progress: Progress | None,
    level: Level,
) -> None:
    """`python -m module out_dir memory_mb seconds`, which finds its spec.json in there, may read
    `read` and leaves some of `leaves`. `work`: its name in faults; else as `check_in_child`."""
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in (*leaves, "error.json"):
        (out_dir / name).unlink(missing_ok=True)
    (out_dir / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    # The process's own memory is bounded by itself, which can then say so.
    room = Room(read=read, write=(out_dir,), tree_mb=memory_mb + AROUND_MB, seconds=seconds)
    ended_before = ended_for_memory()
    with ExitStack() as ends:
        (output, stdout), (errors, stderr) = _pipe(ends), _pipe(ends)
        with stdout, stderr:
            child = start_loaded(
                level,
                room,
                module,
                [str(out_dir), str(memory_mb), str(seconds)],
                loaded=LOADED,
                cwd=out_dir,
                environment=_environment(),
                stdout=stdout,
                stderr=stderr,
            )
        try:
            said = _communicate(child, output, errors, progress)
        finally:
            child.kill()
    require_plain(out_dir)
    code = child.process.returncode
    assert code is not None
    if code == 0:
        return
    if code == -signal.SIGKILL and ended_for_memory() > ended_before:
        raise _worker_memory_fault(work)
    raise _fault(work, out_dir, code, said, memory_mb, seconds)


def _pipe(ends: ExitStack) -> tuple[IO[bytes], IO[bytes]]:
    """The end to read, closed with `ends`, and the one to write."""
    read, write = os.pipe()
    return ends.enter_context(open(read, "rb")), open(write, "wb", buffering=0)


def _environment() -> dict[str, str]:
    """No credentials, no network of Hugging Face's, and one thread."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(Path(finetune.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "TRANSFORMERS_NO_ADVISORY_WARNINGS": "1",  # that there is no torch is meant
        "OMP_NUM_THREADS": "1",
    }


def _communicate(
    child: Child, output: IO[bytes], errors: IO[bytes], progress: Progress | None
) -> str:
    """Feed progress until the child ends, the last again while it says nothing, as one row may
    take it long; returns the end of its standard error."""
    kept = bytearray()
    lines: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
    readers = [
        threading.Thread(target=_keep_end, args=(errors, kept)),
        threading.Thread(target=_pass_on, args=(output, lines)),
    ]
    for reader in readers:
        reader.start()
    told = {"read": 0, "total": 0, "rows": 0}
    for line in iter(partial(_next, lines), None):
        if line.startswith(b"{"):
            told = json.loads(line)
        if progress:
            progress(told["read"], told["total"], told["rows"])
    child.process.wait()
    for reader in readers:
        reader.join()
    return kept.decode(errors="replace")


def _pass_on(stream: IO[bytes], lines: "queue.SimpleQueue[bytes | None]") -> None:
    for line in stream:
        lines.put(line)
    lines.put(None)


def _next(lines: "queue.SimpleQueue[bytes | None]") -> bytes | None:
    """A line, None at the end, nothing while the child is silent."""
    try:
        return lines.get(timeout=_SILENCE)
    except queue.Empty:
        return b""


def _keep_end(stream: IO[bytes], kept: bytearray) -> None:
    for line in stream:
        kept += line[-_STDERR_KEPT:]
        del kept[:-_STDERR_KEPT]


def _worker_memory_fault(work: str) -> UserFault:
    """The kernel ended it before its own bound was reached: trying again would end the same."""
    return UserFault(
        "limit_memory",
        f"The {work} needed more memory than the worker has.",
        fix="Split the file into several files, or ask the operator for a worker with more memory.",
    )


def _fault(work: str, out_dir: Path, code: int, stderr: str, memory_mb: int, seconds: int) -> Fault:
    if code == ExitCode.FULL:
        return DiskFull()
    error = out_dir / "error.json"
    if error.exists():
        return from_dict(json.loads(error.read_bytes()))
    if -code == signal.SIGXCPU:
        return UserFault(
            "limit_time",
            f"The {work} took more than {seconds} seconds.",
            fix="Split the file into several files.",
        )
    if code == ExitCode.MEMORY or any(words in stderr for words in OUT_OF_MEMORY):
        return memory_fault(memory_mb, work)
    # What it printed last may quote a row, so only how it ended is told.
    how = ENDED_FOR.get(code, f"ended with exit code {code}")
    return OurFault(f"{work}_crashed", f"The {work} {how}.")
