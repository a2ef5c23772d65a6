"""The child that runs a customer's grader: `python -m finetune.grading.python_child`.

One JSON object {"source", "asked": [{"sample", "item"}, …]} on standard input; a line {"score"} or
{"error"} for each on standard output, in their order. What the source itself prints goes to
standard error, and away.

The source is loaded once, and each answer graded in a process forked from there: a grader may run
what a model wrote, and what that does to its process (ends it, writes to all it can, changes the
grader's own functions) is that answer's affair and no other's.
"""

import ctypes
import json
import math
import os
import signal
import sys
import traceback
from contextlib import suppress
from typing import IO, Any

LONGEST_ERROR = 2000  # characters of what is told about a failure
LONGEST_ANSWER = 64 * 1024  # bytes
PR_SET_DUMPABLE = 4


def main() -> int:
    # Or /proc would lead those that are forked to the files of this one.
    ctypes.CDLL(None).prctl(PR_SET_DUMPABLE, 0, 0, 0, 0)
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the source's own print must not be taken for the answer
    given = json.load(sys.stdin)
    space: dict[str, Any] = {"__name__": "grader"}
    broken = _loaded(space, given["source"])
    for each in given["asked"]:
        told = broken or _apart(space, each, answers)
        answers.write(json.dumps(told) + "\n")
        answers.flush()  # what is graded stays so, whatever comes next, and no fork writes it again
    return 0


def _loaded(space: dict[str, Any], source: str) -> dict[str, Any] | None:
    """What is told of every answer where the source cannot be loaded."""
    try:
        exec(compile(source, "grader.py", "exec", dont_inherit=True), space)  # noqa: S102
    except BaseException as error:  # SystemExit, too: the answer is due whatever it does
        return {"error": _told(error)}
    return None


def _apart(space: dict[str, Any], asked: dict[str, Any], answers: IO[str]) -> dict[str, Any]:
    ours, its = os.pipe()
    if (process := os.fork()) == 0:
        os.setsid()
        os.close(ours)
        answers.close()
        os.write(its, json.dumps(_graded(space, asked)).encode() + b"\n")
        os._exit(0)
    os.close(its)
    with os.fdopen(ours, "rb") as told:  # a line: what it started may hold the other end open
        line = told.readline(LONGEST_ANSWER)
    with suppress(ProcessLookupError):
        os.killpg(process, signal.SIGKILL)
    _, status = os.waitpid(process, 0)
    try:
        said = json.loads(line)  # the source may have written it itself
    except (ValueError, RecursionError):
        said = None
    if isinstance(said, dict):
        return said
    code = os.waitstatus_to_exitcode(status)
    return {"error": f"The grader ended without an answer (status {code}): it ended its process."}


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
