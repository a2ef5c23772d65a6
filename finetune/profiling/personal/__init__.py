"""Personal data and secrets in texts, by form and check digits: what a machine can tell without
guessing. Names of people and their addresses have no such form and are not found."""

import json
import re
from collections.abc import Collection, Iterable
from typing import Any

from finetune.profiling.personal.kinds import SECRETS, Found, Kind
from finetune.profiling.personal.patterns import PATTERNS

__all__ = ["SECRETS", "Found", "Kind", "find", "masked", "masked_row"]

_DIGIT = re.compile(r"[0-9]")
_ALL = frozenset(Kind)


def find(text: str, kinds: Collection[Kind] = _ALL) -> list[Found]:
    """In order, none over another."""
    found: list[Found] = []
    digits = bool(_DIGIT.search(text))
    for pattern in PATTERNS:
        if pattern.kind not in kinds or not (
            digits if pattern.needs == "0" else pattern.needs in text
        ):
            continue
        for match in pattern.form.finditer(text):
            start, end = match.span(pattern.group)
            apart = all(end <= other.start or start >= other.end for other in found)
            if apart and pattern.is_meant(match):
                found.append(Found(start, end, pattern.kind))
    return sorted(found)


def masked(text: str, found: Iterable[Found]) -> str:
    """With each place under its kind's mask."""
    pieces, at = [], 0
    for each in found:
        pieces += [text[at : each.start], each.kind.mask]
        at = each.end
    return "".join([*pieces, text[at:]])


def masked_row(value: Any, found: dict[str, list[Found]], place: str = "") -> Any:
    """The row with what was found in its texts masked; `found`: by place (profiling/texts.py)."""
    if isinstance(value, str):
        return masked(value, found[place]) if place in found else value
    if isinstance(value, list):
        return [masked_row(each, found, f"{place}[{n}]") for n, each in enumerate(value)]
    if isinstance(value, dict):
        return {
            name: _member(name, each, found, f"{place}.{name}" if place else name)
            for name, each in value.items()
        }
    return value


def _member(name: str, value: Any, found: dict[str, list[Found]], place: str) -> Any:
    if name == "arguments" and isinstance(value, str) and place in found:
        return _masked_arguments(value, found[place])
    return masked_row(value, found, place)


def _masked_arguments(text: str, found: list[Found]) -> str:
    """JSON in a string stays JSON: a number under a mask becomes a string."""
    plain = masked(text, found)
    try:
        json.loads(plain)
    except ValueError:
        quoted, at = [], 0
        for each in found:
            mask = each.kind.mask if _in_string(text, each.start) else f'"{each.kind.mask}"'
            quoted += [text[at : each.start], mask]
            at = each.end
        return "".join([*quoted, text[at:]])
    return plain


def _in_string(text: str, place: int) -> bool:
    return len(re.findall(r'(?<!\\)(?:\\\\)*"', text[:place])) % 2 == 1
