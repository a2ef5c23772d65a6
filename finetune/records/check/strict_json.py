"""JSON as the standard has it: no duplicate keys, no NaN, no lone surrogates.

Fast where orjson can vouch for a line, slow (the standard library with hooks) where it cannot:
orjson refuses NaN, bad UTF-8 and surrogates, but lets the last of two equal keys win.
"""

import json
import math
import re
from typing import Any

import orjson

from faults.nesting import DEEPEST, TooDeep, levels
from finetune.records.check.problems import Finding, RowUnusable
from finetune.records.printing import printable

# Two that begin with a letter of their own: a line is searched for those many times faster
_KEY_END = re.compile(rb'"[ \t\r\n]*:')
_ESCAPED_END = re.compile(rb'\\"[ \t\r\n]*:')
_SURROGATE_ESCAPE = re.compile(rb"\\u[dD]")


def loads(line: bytes) -> Any:
    """Raises RowUnusable with invalid_utf8, invalid_json, duplicate_key, not_finite,
    lone_surrogate or too_deep."""
    try:
        value = orjson.loads(line)
    except orjson.JSONDecodeError:
        return _loads_slowly(line)
    # Each key of the text ends in `":`, so with as many of those as keys read, none was lost.
    # More of them may also stand in strings, and a key may end in a backslash, which looks as if
    # it escaped the quote; then the slow reader decides.
    keys = _count_keys(value)
    if rb'\\"' in line or _key_ends(line) != keys:
        return _loads_slowly(line)
    return value


def _key_ends(line: bytes) -> int:
    """How many `":` there are, with space in between or not, behind no backslash."""
    return len(_KEY_END.findall(line)) - len(_ESCAPED_END.findall(line))


def _count_keys(value: Any) -> int:
    """Keys of all objects within. Raises RowUnusable too_deep, or not_finite (for 1e999)."""
    keys = 0
    try:
        for level in levels(value, DEEPEST):
            for each in level:
                if isinstance(each, dict):
                    keys += len(each)
                elif isinstance(each, float) and not math.isfinite(each):
                    raise _too_large()
    except TooDeep as error:
        raise RowUnusable(Finding("too_deep")) from error
    return keys


def _loads_slowly(line: bytes) -> Any:
    try:
        text = line.decode()
    except UnicodeDecodeError as error:
        raise RowUnusable(invalid_utf8(error)) from error
    try:
        value = json.loads(
            text,
            object_pairs_hook=_without_duplicates,
            parse_constant=_refuse_constant,
            parse_int=_integer,
        )
    except json.JSONDecodeError as error:
        raise RowUnusable(
            Finding(
                "invalid_json",
                message=f"Not JSON at column {error.colno}: {error.msg}.",
                values={"column": error.colno},
            )
        ) from error
    except RecursionError as error:
        raise RowUnusable(Finding("too_deep")) from error
    _count_keys(value)
    if _SURROGATE_ESCAPE.search(line):  # UTF-8 itself cannot hold any
        _refuse_surrogates(value, "")
    return value


def invalid_utf8(error: UnicodeDecodeError) -> Finding:
    wrong = error.object[error.start : error.end].hex(" ")
    return Finding(
        "invalid_utf8",
        message=f"Not UTF-8 at byte {error.start + 1} of the line: {wrong}.",
        values={"byte": error.start + 1},
    )


def _without_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    read = dict(pairs)
    if len(read) < len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                message = f"The key '{printable(key)}' stands twice in one object."
                raise RowUnusable(Finding("duplicate_key", printable(key), message))
            seen.add(key)
    return read


def _integer(digits: str) -> int:
    """Python refuses to read more than 4300 of them, and orjson what no double holds."""
    if not math.isfinite(float(digits)):
        raise _too_large()
    return int(digits)


def _too_large() -> RowUnusable:
    message = "A number is too large to be one of a computer's numbers."
    return RowUnusable(Finding("not_finite", message=message))


def _refuse_constant(name: str) -> Any:
    raise RowUnusable(Finding("not_finite", message=f"{name} is not JSON."))


def _refuse_surrogates(value: Any, field: str) -> None:
    if isinstance(value, str):
        if any("\ud800" <= character <= "\udfff" for character in value):
            raise RowUnusable(Finding("lone_surrogate", printable(field) or None))
    elif isinstance(value, dict):
        for key, item in value.items():
            inner = f"{field}.{key}" if field else key
            _refuse_surrogates(key, inner)
            _refuse_surrogates(item, inner)
    elif isinstance(value, list):
        for index, item in enumerate(value):
            _refuse_surrogates(item, f"{field}[{index}]")
