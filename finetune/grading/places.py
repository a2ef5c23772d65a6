"""The places of a grader's texts, as in `{{ item.reference }}`, and what fills them.

Names, dots and indexes only: no expressions, so nothing of a customer's is executed.
"""

import json
import re
from collections.abc import Mapping
from typing import Any

_PLACE = re.compile(r"\{\{(.*?)\}\}", re.DOTALL)
_PATH = re.compile(r"\s*((?:item|sample)(?:\.\w+|\[\d{1,6}\])*)\s*")
_STEP = re.compile(r"\.(\w+)|\[(\d+)\]")


class NoSuchPlace(LookupError):
    """What the place names is not there; the message says which."""


def require_places(text: str) -> str:
    """Raises ValueError for a place that is no path into `item` or `sample`."""
    for found in _PLACE.finditer(text):
        if not _PATH.fullmatch(found[1]):
            shown = found[0][:80]
            raise ValueError(f"{shown} is no path such as {{{{ item.reference }}}}")
    return text


def fill(text: str, spaces: Mapping[str, Any]) -> str:
    """The text with what its places name: strings as they are, anything else as JSON. Raises
    NoSuchPlace."""
    return _PLACE.sub(lambda found: _shown(found[1].strip(), spaces), text)


def _shown(path: str, spaces: Mapping[str, Any]) -> str:
    name = re.split(r"[.\[]", path, maxsplit=1)[0]
    value: Any = spaces.get(name)
    for key, index in _STEP.findall(path[len(name) :]):
        try:
            value = value[key] if key and isinstance(value, Mapping) else value[int(index)]
        except (LookupError, TypeError, ValueError):
            raise NoSuchPlace(path) from None
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
