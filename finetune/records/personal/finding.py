"""Personal data and secrets in a text, by form and check digits: what a machine can tell without
guessing. Names of people and their addresses have no such form and are not found."""

import json
import re
from collections.abc import Collection, Sequence

from finetune.records.personal.kinds import ALL, Found, Kind
from finetune.records.personal.patterns import PATTERNS
from finetune.records.personal.plain import plain

_DIGIT = re.compile(r"[0-9]")


def find(text: str, kinds: Collection[Kind] = ALL) -> list[Found]:
    """In order, none over another."""
    said, edges = plain(text)
    found: list[Found] = []
    digits = bool(_DIGIT.search(said))
    for pattern in PATTERNS:
        if pattern.kind not in kinds or not (
            digits if pattern.needs == "0" else pattern.needs in said
        ):
            continue
        for match in pattern.form.finditer(said):
            start, end = match.span(pattern.group)
            apart = all(end <= other.start or start >= other.end for other in found)
            if apart and pattern.is_meant(match):
                found.append(Found(start, end, pattern.kind))
    if edges is not None:
        found = [Found(edges[each.start], edges[each.end], each.kind) for each in found]
    return sorted(found)


def masked(text: str, found: Sequence[Found]) -> str:
    """With each place under its kind's mask. What is JSON stays JSON: a number under a mask becomes
    a string."""
    made = _with(text, [(each, each.kind.mask) for each in found])
    if not _is_json(text) or _is_json(made):
        return made
    return _with(
        text,
        [
            (each, each.kind.mask if _in_string(text, each.start) else f'"{each.kind.mask}"')
            for each in found
        ],
    )


def _with(text: str, masks: Sequence[tuple[Found, str]]) -> str:
    pieces, at = [], 0
    for each, mask in masks:
        pieces += [text[at : each.start], mask]
        at = each.end
    return "".join([*pieces, text[at:]])


def _is_json(text: str) -> bool:
    """An object or a list."""
    if not text.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(text)
    except (ValueError, RecursionError):
        return False
    return True


def _in_string(text: str, place: int) -> bool:
    return len(re.findall(r'(?<!\\)(?:\\\\)*"', text[:place])) % 2 == 1
