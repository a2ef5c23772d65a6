"""The places of a grader's texts, as in `{{ item.reference }}`, and what fills them.

Names, dots and indexes only: no expressions, so nothing of a customer's is executed.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

_PATH = re.compile(r"\s*((?:item|sample)(?:\.\w+|\[\d{1,6}\])*)\s*")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


LONGEST = 1 << 20  # characters of a filled text: a few places of a long answer each make gigabytes


class TooLong(ValueError):
    """What the places name makes a text longer than LONGEST."""


class NoSuchPlace(LookupError):
    """What the place names is not there; the message says which."""


def require_places(text: str) -> str:
    """Raises ValueError for a place that is no path into `item` or `sample`."""
    for _, place in _parts(text):
        if place is not None and not _PATH.fullmatch(place):
            shown = f"{{{{{place}}}}}"[:80]
            raise ValueError(f"{shown} is no path such as {{{{ item.reference }}}}")
    return text


def fill(text: str, spaces: Mapping[str, Any]) -> str:
    """The text with what its places name: strings as they are, anything else as JSON. Raises
    NoSuchPlace, and TooLong before more than that is put together."""
    return fill_all([text], spaces)[0]


def fill_all(texts: Sequence[str], spaces: Mapping[str, Any]) -> list[str]:
    """The same for texts of one question, which together are no longer than one may be."""
    found, left = [], LONGEST
    for text in texts:
        filled = []
        for plain, place in _parts(text):
            more = plain if place is None else plain + _shown(place.strip(), spaces)
            left -= len(more)
            if left < 0:
                raise TooLong(
                    f"More than {LONGEST} characters are to be read once the places are filled."
                )
            filled.append(more)
        found.append("".join(filled))
    return found


def _parts(text: str) -> Iterator[tuple[str, str | None]]:
    """What stands before each place, and the place; the rest with None. A regular expression would
    look for the end again from each beginning: minutes for a text of nothing but beginnings."""
    at = 0
    while (begin := text.find("{{", at)) >= 0 and (end := text.find("}}", begin + 2)) >= 0:
        yield text[at:begin], text[begin + 2 : end]
        at = end + 2
    yield text[at:], None


def _shown(path: str, spaces: Mapping[str, Any]) -> str:
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    value: Any = spaces.get(name)
    for key, index in _STEP.findall(path[len(name) :]):
        try:
            value = value[key] if key and isinstance(value, Mapping) else value[int(index)]
        except (LookupError, TypeError, ValueError):
            raise NoSuchPlace(path) from None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
