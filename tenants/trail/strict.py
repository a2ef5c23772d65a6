"""JSON of strangers, read in one way only: what is ambiguous or cannot be written again is refused.

A name given twice means one thing to one reader and another to the next, so that a signature would
cover what nobody sees.
"""

import json
from typing import Any

from faults.nesting import ENDLESS, levels

DEEPEST = 64  # levels; what the server writes has fewer than ten


class BadJson(ValueError):
    """What was given is no JSON that a signature or a digest could cover."""


def read_json(text: str) -> Any:
    """The value. Raises BadJson, saying why, for whatever is wrong with the text."""
    try:
        value = json.loads(text, object_pairs_hook=_once, parse_constant=_no_constant)
        _check(value)
    except ENDLESS as error:
        raise BadJson(f"it is nested more than {DEEPEST} levels deep") from error
    except BadJson:
        raise
    except ValueError as error:
        raise BadJson(f"it is no JSON: {error}") from error
    return value


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise BadJson(f"it holds the name {name!a} twice")
        found[name] = value
    return found


def _no_constant(name: str) -> None:
    raise BadJson(f"{name} is no JSON")


def _check(value: Any) -> None:
    """Raises TooDeep, and BadJson for text that is none."""
    for level in levels(value, DEEPEST):
        for each in level:
            texts = each if isinstance(each, dict) else [each]
            if not all(_writable(text) for text in texts if isinstance(text, str)):
                raise BadJson("it holds half of a surrogate pair, which is no text")


def _writable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
