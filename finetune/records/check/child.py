"""Runs a check in a child process that cannot take more memory or time than it is given.

What comes in is a stranger's file: a parser that is tricked into eating everything takes down
one child and not the worker.
"""

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path
from typing import IO

import finetune
from finetune.errors import FinetuneError, OurFault, UserFault
from finetune.records.check.__main__ import OUT_OF_MEMORY, memory_fault
from finetune.records.check.run import ERRORS, REPORT, ROWS
from finetune.records.check.spec import CheckReport, CheckSpec

Progress = Callable[[int, int], None]  # bytes of the source read, and its size

_STDERR_KEPT = 64 * 1024


def check_in_child(
    spec: CheckSpec,
    out_dir: Path,
    *,
    memory_mb: int = 2048,
    seconds: int = 1800,
    progress: Progress | None = None,
) -> CheckReport:
    """Check the source; leaves rows.jsonl, errors.jsonl and report.json in out_dir.

    `memory_mb` bounds the child's data, `seconds` its processor time and the wall clock.
    An exception out of `progress` ends the child and goes on to the caller, so it can cancel.
    Raises UserFault with a code of `codes.LIMIT_CODES`, OurFault `check_crashed` or `disk_full`.
    """
    out_dir.mkdir(parents=True, exist_ok=True)
    for name in (ROWS, ERRORS, REPORT, "error.json"):
        (out_dir / name).unlink(missing_ok=True)
    (out_dir / "spec.json").write_text(spec.model_dump_json(), encoding="utf-8")
    with subprocess.Popen(
        [
            *(sys.executable, "-m", "finetune.records.check"),
            *(str(out_dir), str(memory_mb), str(seconds)),
        ],
        env=_environment(),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as child:
        late = threading.Event()
        timer = threading.Timer(seconds, _kill, (child, late))
        try:
            timer.start()
            stderr = _communicate(child, progress)
        finally:
            timer.cancel()
            _kill(child)
    if child.returncode == 0:
        return CheckReport.model_validate_json((out_dir / REPORT).read_bytes())
    raise _fault(out_dir, child.returncode, stderr, late.is_set(), memory_mb, seconds)


def _environment() -> dict[str, str]:
    """No credentials, no network of Hugging Face's, and one thread."""
    kept = {name: os.environ[name] for name in ("PATH", "LANG", "TMPDIR") if name in os.environ}
    return {
        **kept,
        "PYTHONPATH": str(Path(finetune.__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
        "HF_HUB_OFFLINE": "1",
        "TOKENIZERS_PARALLELISM": "false",
        "OMP_NUM_THREADS": "1",
    }


def _communicate(child: "subprocess.Popen[bytes]", progress: Progress | None) -> str:
    """Feed progress until the child ends; returns the end of its standard error."""
    assert child.stdout is not None
    assert child.stderr is not None
    kept = bytearray()
    reader = threading.Thread(target=_keep_end, args=(child.stderr, kept))
    reader.start()
    for line in child.stdout:
        if progress and line.startswith(b"{"):
            told = json.loads(line)
            progress(told["read"], told["total"])
    child.wait()
    reader.join()
    return kept.decode(errors="replace")


def _keep_end(stream: IO[bytes], kept: bytearray) -> None:
    for line in stream:
        kept += line[-_STDERR_KEPT:]
        del kept[:-_STDERR_KEPT]


def _kill(child: "subprocess.Popen[bytes]", late: threading.Event | None = None) -> None:
    if child.poll() is None:
        if late is not None:
            late.set()
        with contextlib.suppress(ProcessLookupError):  # ended by itself just now
            os.killpg(child.pid, signal.SIGKILL)


def _fault(
    out_dir: Path, code: int, stderr: str, late: bool, memory_mb: int, seconds: int
) -> FinetuneError:
    error = out_dir / "error.json"
    if error.exists():
        told = json.loads(error.read_bytes())
        family = UserFault if told.pop("family") == "user" else OurFault
        return family(told.pop("code"), told.pop("message"), **told)
    if late or -code == signal.SIGXCPU:
        return UserFault(
            "limit_time",
            f"The check took more than {seconds} seconds.",
            fix="Split the file into several files.",
        )
    if any(words in stderr for words in OUT_OF_MEMORY):
        return memory_fault(memory_mb)
    # What it printed last may quote a row, so only how it ended is told.
    return OurFault("check_crashed", f"The check ended with exit code {code}.")
