"""Listed values as cases, and their negation."""

import json
from collections.abc import Iterable
from itertools import pairwise
from typing import Any

from finetune.serving.structured.logic import Case

KEYWORDS = {
    "null": frozenset[str](),
    "boolean": frozenset[str](),
    "string": frozenset(("minLength", "maxLength", "pattern", "format")),
    "number": frozenset(
        ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf")
    ),
    "array": frozenset(("prefixItems", "items", "minItems", "maxItems", "uniqueItems")),
    "object": frozenset(("properties", "patternProperties", "additionalProperties", "required"))
    | {"minProperties", "maxProperties", "propertyNames"},
}
_TYPES = {str: "string", bool: "boolean", int: "number", float: "number", type(None): "null"}
_SCALARS: dict[str, list[Any]] = {"boolean": [False, True], "null": [None]}


def same(value: Any) -> str:
    """The same text for values that JSON Schema takes for one: 1 and 1.0, not 1 and true."""
    return json.dumps(_plain(value), sort_keys=True)


def whole(value: float) -> bool:
    return isinstance(value, int) or value.is_integer()


def of_values(values: Iterable[Any]) -> list[Case]:
    scalars: dict[str, list[Any]] = {}
    cases = list[Case]()
    for value in {same(each): each for each in values}.values():
        if isinstance(value, list | dict):
            cases.append(structure(value))
        else:
            scalars.setdefault(_TYPES[type(value)], []).append(value)
    return [{"type": name, "enum": listed} for name, listed in scalars.items()] + cases


def structure(value: list[Any] | dict[str, Any]) -> Case:
    """The case that this alone is."""
    if isinstance(value, list):
        size = {"minItems": len(value), "maxItems": len(value)}
        return {"type": "array", "prefixItems": [{"const": each} for each in value], **size}
    properties = {name: {"const": each} for name, each in value.items()}
    closed = {"required": [*value], "additionalProperties": False}
    return {"type": "object", "properties": properties, **closed}


def other_scalars(kind: str, values: list[Any]) -> list[Case]:
    """Of one type, all values but these."""
    if kind == "string":
        return [{"type": kind, "but": values}]
    if kind == "number":
        return _between(sorted(set(values)))
    met = {same(each) for each in values}
    left = [each for each in _SCALARS[kind] if same(each) not in met]
    return [{"type": kind, "enum": left}] if left else []


def _between(values: list[float]) -> list[Case]:
    ends = [None, *values, None]
    cases = list[Case]()
    for low, high in pairwise(ends):
        case: Case = {"type": "number"}
        if low is not None:
            case["exclusiveMinimum"] = low
        if high is not None:
            case["exclusiveMaximum"] = high
        cases.append(case)
    return cases


def _plain(value: Any) -> Any:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    if isinstance(value, list):
        return [_plain(each) for each in value]
    if isinstance(value, dict):
        return {key: _plain(each) for key, each in value.items()}
    return value
