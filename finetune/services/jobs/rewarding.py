"""The grader of a job by reinforcement: whether it can reward a training."""

from typing import Any

from pydantic import ValidationError

from faults import UserFault
from finetune.grading import specs

# What a training cannot ask, and why
NOT_IN_TRAINING = {
    "score_model": "a training asks no other model",
}


def checked_grader(given: dict[str, Any] | None) -> dict[str, Any]:
    """As it was given. Raises UserFault with `param` `grader`."""
    if given is None:
        raise _invalid("A training by rewards needs a grader.")
    try:
        spec = specs.GRADER.validate_python(given)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        place = ".".join(["grader", *(str(part) for part in first["loc"])])
        raise _invalid(f"{place}: {first['msg']}.") from None
    for part in specs.parts_of(spec):
        if why := NOT_IN_TRAINING.get(part.type):
            raise UserFault(
                "unsupported_parameter",
                f"A grader of the type {part.type!r} is not offered in a training: {why}.",
                fix="Use string_check, json_equal, text_similarity, python, or multi of those.",
                param="grader",
            )
    return given


def _invalid(message: str) -> UserFault:
    return UserFault(
        "invalid_value",
        message,
        param="grader",
        fix="Try it with POST /v1/fine_tuning/alpha/graders/validate.",
    )
