"""How deep JSON of strangers is nested, counted once; each reader words the fault itself."""

import json
from collections.abc import Iterator
from typing import Any

DEEPEST = 102  # levels of a row of a file, and of JSON in one of its strings


class TooDeep(Exception):
    """Whatever walks the value later, in Python's recursion or PostgreSQL's, may not come back."""


# What nestings without end raise, in Python's recursion and here; and whatever else is no JSON.
ENDLESS = (RecursionError, TooDeep)
NO_JSON = (ValueError, RecursionError)


def levels(value: Any, most: int) -> Iterator[list[Any]]:
    """The values of each level: the whole, then what stands in it, and so on; an object's keys are
    not among them. No recursion: depth is what is being bounded. Raises TooDeep past `most`."""
    level, depth = [value], 1
    while level:
        if depth > most:
            raise TooDeep
        yield level
        level, depth = _inside(level), depth + 1


def bound(value: Any, most: int) -> None:
    """Raises TooDeep for a value of more than `most` levels, a lone number being one."""
    for _ in levels(value, most):
        continue


def loads(text: str | bytes) -> Any:
    """JSON that strangers put into a string or a line, of at most DEEPEST levels.

    Raises ValueError for whatever else it is: no JSON, a number of thousands of digits, nestings
    without end.
    """
    try:
        value = json.loads(text)
        bound(value, DEEPEST)
    except ENDLESS as error:
        raise ValueError(f"it is nested more than {DEEPEST} levels deep") from error
    return value


def _inside(level: list[Any]) -> list[Any]:
    found: list[Any] = []
    for each in level:
        if isinstance(each, dict):
            found.extend(each.values())
        elif isinstance(each, list):
            found.extend(each)
    return found
