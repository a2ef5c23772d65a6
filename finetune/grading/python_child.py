"""The child that runs a customer's grader: `python -m finetune.grading.python_child`.

One JSON object {"source", "asked": [{"sample", "item"}, …]} on standard input; a line {"score"} or
{"error"} for each on standard output, in their order. What the source itself prints goes to
standard error, and away.
"""

import json
import math
import os
import sys
import traceback
from typing import Any

LONGEST_ERROR = 2000  # characters of what is told about a failure


def main() -> int:
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)  # the source's own print must not be taken for the answer
    given = json.load(sys.stdin)
    space: dict[str, Any] = {"__name__": "grader"}
    for number, each in enumerate(given["asked"]):
        told = _graded(space, given["source"] if number == 0 else "", each)
        answers.write(json.dumps(told) + "\n")
        answers.flush()  # what is graded stays so, whatever becomes of the next
    answers.close()
    return 0


def _graded(space: dict[str, Any], source: str, asked: dict[str, Any]) -> dict[str, Any]:
    """The source runs once, in front of the first."""
    try:
        exec(compile(source, "grader.py", "exec", dont_inherit=True), space)  # noqa: S102
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
