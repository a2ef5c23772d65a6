"""The child that runs a customer's grader: `python -m finetune.grading.python_child`.

One JSON object {"source", "asked": [{"sample", "item"}, …]} on standard input; on standard output a
line once the source is loaded, and a line {"score"} or {"error"} for each, in their order. What the
source itself prints goes to standard error, and away.

The source is loaded once, and each answer graded in a process forked from there: a grader may run
what a model wrote, and what that does to its process (ends it, writes to all it can, changes the
grader's own functions) is that answer's affair and no other's. What it started is ended with it.
Where more is left of it than that mends, this process ends with 0, and whoever started it asks
another for the rest; the same, with another code, where an answer has ended this one.
"""

import ctypes
import json
import math
import os
import signal
import stat
import sys
import traceback
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

LONGEST_ERROR = 2000  # characters of what is told about a failure
LONGEST_ANSWER = 64 * 1024  # bytes
LOADED = b"loaded\n"
PR_SET_DUMPABLE = 4
WRITABLE = ("/tmp", "/dev")  # noqa: S108  in the sandbox


def main() -> int:
    # Or /proc would lead those that are forked to the files of this one.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    if not _is_alone():
        print("this runs a stranger's code, and ends all other processes", file=sys.stderr)
        return 1
    answers = os.dup(1)
    os.dup2(2, 1)  # the source's own print must not be taken for the answer
    given = json.load(sys.stdin)
    space: dict[str, Any] = {"__name__": "grader"}
    broken = _loaded(space, given["source"])
    os.write(answers, LOADED)
    began_alone, before = _is_alone(), set(_left())
    for each in given["asked"]:
        told = broken or _apart(space, each, answers)
        os.write(answers, told + b"\n")
        if not (began_alone and _is_as(before)):
            return 0
    return 0


def _is_alone() -> bool:
    """But for the first process of the namespace, which nobody in there can end."""
    return {name for name in os.listdir("/proc") if name.isdigit()} == {"1", str(os.getpid())}


def _left() -> Iterator[tuple[str, int, int]]:
    """What lies in the folders that can be written to."""
    for root in WRITABLE:
        for folder, folders, files in os.walk(root):
            for name in (*folders, *files):
                path = os.path.join(folder, name)
                found = os.lstat(path)
                changed = found.st_ctime_ns if stat.S_ISREG(found.st_mode) else 0
                yield path, found.st_ino, changed


def _is_as(before: set[tuple[str, int, int]]) -> bool:
    """Looks no further than to the first that is new."""
    count = 0
    for count, each in enumerate(_left(), 1):  # noqa: B007
        if each not in before:
            return False
    return count == len(before)


def _loaded(space: dict[str, Any], source: str) -> bytes:
    """What is told of every answer where the source cannot be loaded; else nothing."""
    try:
        exec(compile(source, "grader.py", "exec", dont_inherit=True), space)  # noqa: S102
    except BaseException as error:  # SystemExit, too: the answer is due whatever it does
        return _line({"error": _told(error)})
    return b""


def _apart(space: dict[str, Any], asked: dict[str, Any], answers: int) -> bytes:
    ours, its = os.pipe()
    if (process := os.fork()) == 0:
        os.setsid()
        os.close(ours)
        os.close(answers)
        os.write(its, _line(_graded(space, asked)) + b"\n")
        os._exit(0)
    os.close(its)
    with os.fdopen(ours, "rb") as told:  # a line: what it started may hold the other end open
        line = told.readline(LONGEST_ANSWER).rstrip(b"\n")
    with suppress(ProcessLookupError):  # whatever group it is in; all of them in one stroke
        os.kill(-1, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    try:
        said = json.loads(line)  # the source may have written it itself
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        return line
    code = os.waitstatus_to_exitcode(status)
    ended = f"The grader ended without an answer (status {code}): it ended its process."
    return _line({"error": ended})


def _line(told: dict[str, Any]) -> bytes:
    return json.dumps(told).encode()


def _graded(space: dict[str, Any], asked: dict[str, Any]) -> dict[str, Any]:
    try:
        score = float(space["grade"](asked["sample"], asked["item"]))
    except BaseException as error:  # SystemExit, too: the answer is due whatever it does
        return {"error": _told(error)}
    if not math.isfinite(score):
        return {"error": f"grade() returned {score}, which is no finite number"}
    return {"score": score}


def _told(error: BaseException) -> str:
    """The error and its line in the customer's own source; none of ours."""
    lines = [
        frame.lineno for frame in traceback.extract_tb(error.__traceback__)
        if frame.filename == "grader.py"
    ]  # fmt: skip
    where = f" (line {lines[-1]})" if lines else ""
    return f"{type(error).__name__}: {error}{where}"[:LONGEST_ERROR]


if __name__ == "__main__":
    sys.exit(main())
