"""The child that runs a customer's grader: `python -m finetune.grading.python_child`.

One JSON object {"source", "sample", "item"} on standard input; {"score"} or {"error"} on standard
output. What the source itself prints goes to standard error, and away.
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
    asked = json.load(sys.stdin)
    json.dump(_graded(asked), answers)
    answers.close()
    return 0


def _graded(asked: dict[str, Any]) -> dict[str, Any]:
    space: dict[str, Any] = {"__name__": "grader"}
    try:
        exec(compile(asked["source"], "grader.py", "exec", dont_inherit=True), space)  # noqa: S102
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
