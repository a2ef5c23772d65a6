"""The grader of a job by reinforcement: whether it can reward a training."""

from typing import Any

from pydantic import ValidationError

from faults import UserFault
from finetune.grading import specs


def checked_grader(given: dict[str, Any] | None) -> dict[str, Any]:
    """As it was given. Raises UserFault with `param` `grader`."""
    if given is None:
        raise _invalid("A training by rewards needs a grader.")
    try:
        specs.GRADER.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(["grader", *(str(part) for part in first["loc"])])
        raise _invalid(f"{place}: {first['msg']}.") from None
    return given


def _invalid(message: str) -> UserFault:
    return UserFault(
        "invalid_value",
        message,
        param="grader",
        fix="Try it with POST /v1/fine_tuning/alpha/graders/validate.",
    )
