"""Where a row may hold what is personal: every string and whole number of it, each by a place that
no other has."""

from collections.abc import Collection, Iterator
from typing import Any

from finetune.profiling.texts import place_of
from finetune.records.personal import ALL, Found, Kind, find, masked

Texts = Iterator[tuple[str, str, str]]


def texts(value: Any, place: str = "", name: str = "") -> Texts:
    """(place, text, what stands before it). Of a call its number is left out, which an answer to it
    names again."""
    if isinstance(value, str):
        yield place, value, ""
    elif isinstance(value, int) and not isinstance(value, bool):
        yield place, str(value), f"{name}: "
    elif isinstance(value, list):
        for index, item in enumerate(value):
            yield from texts(item, place_of(place, index), name)
    elif isinstance(value, dict):
        for key, item in value.items():
            if not _is_number_of_call(key, value):
                yield from texts(item, place_of(place, key), key)


def found_in(row: Any, kinds: Collection[Kind] = ALL) -> Iterator[tuple[str, Found]]:
    """(place, what was found in the text that stands there)."""
    for place, text, before in texts(row):
        skip = len(before)
        for each in find(before + text, kinds):
            if each.start >= skip:
                yield place, Found(each.start - skip, each.end - skip, each.kind)


def masked_row(value: Any, found: dict[str, list[Found]], place: str = "") -> Any:
    """The row with what was found in its texts masked; a number under a mask becomes a string."""
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return masked(str(value), found[place]) if place in found else value
    if isinstance(value, list):
        return [masked_row(each, found, place_of(place, n)) for n, each in enumerate(value)]
    if isinstance(value, dict):
        return {key: masked_row(each, found, place_of(place, key)) for key, each in value.items()}
    return value


def _is_number_of_call(key: str, of: dict[str, Any]) -> bool:
    return (key == "id" and "function" in of) or (key == "tool_call_id" and "role" in of)
