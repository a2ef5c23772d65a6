"""What makes an answer right. A grader is a function (answer, expected) -> bool."""

from collections.abc import Callable
from typing import Any

from faults.nesting import loads

Grader = Callable[[str, str], bool]


def exact_call(answer: str, expected: str) -> bool:
    """The same JSON object: spaces and the order of keys do not count, anything around it does."""
    call = _call(answer)
    return call is not None and call == _call(expected)


def same_intent(answer: str, expected: str) -> bool:
    """A JSON object with the expected one's `intent`, whatever its other values."""
    call, wanted = _call(answer), _call(expected)
    return call is not None and wanted is not None and call.get("intent") == wanted.get("intent")


def _call(text: str) -> dict[str, Any] | None:
    """The one JSON object that a text is; None if it is anything else."""
    try:
        value = loads(text)
    except ValueError:
        return None
    return value if isinstance(value, dict) else None
