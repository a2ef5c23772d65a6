"""When `oneOf` allows what `anyOf` does: no value can be two of its options. So it is with unions
that pydantic tells apart by a tag, a property of a constant value."""

import json
from itertools import combinations
from typing import Any

MAX_OPTIONS = 50
_FEW = 64  # values of a tag
_NOTHING: dict[str, Any] = {}  # one, as what is found is kept by identity


class Unions:
    """Those of one schema. What was found of two options is kept: many unions may share them."""

    def __init__(self, root: dict[str, Any]) -> None:
        self._root = root
        self._found: dict[tuple[int, int], str | None] = {}
        self._few: dict[int, set[str] | None] = {}

    def tags(self, options: list[Any]) -> list[set[str]] | None:
        """Of each option the properties that it has to have so that it is no other; None where
        options cannot be told apart. A tag with a default is not required by its schema."""
        found = [self.resolved(option) for option in options]
        needed = [set[str]() for _ in options]
        for one, other in combinations(range(len(found)), 2):
            tag = self._between(found[one], found[other])
            if tag is None:
                return None
            if tag:
                needed[one].add(tag)
                needed[other].add(tag)
        return needed

    def resolved(self, schema: Any) -> dict[str, Any]:
        """What a reference, or one behind another, stands for; {} where it stands for nothing."""
        for _ in range(8):
            if not isinstance(schema, dict):
                return _NOTHING
            ref = schema.get("$ref")
            if ref is None:
                return schema
            if not isinstance(ref, str) or ref.count("/") != 2:
                return _NOTHING
            _, group, name = ref.split("/")
            definitions = self._root.get(group)
            schema = definitions.get(name) if isinstance(definitions, dict) else None
        return _NOTHING

    def _between(self, one: dict[str, Any], other: dict[str, Any]) -> str | None:
        """The tag; "" where types or values tell them apart, None where nothing does."""
        key = id(one), id(other)
        if key not in self._found:
            apart = _disjoint(_types(one), _types(other)) or _disjoint(
                self._values(one), self._values(other)
            )
            self._found[key] = "" if apart else self._tag(one, other)
        return self._found[key]

    def _tag(self, one: dict[str, Any], other: dict[str, Any]) -> str | None:
        if _types(one) != {"object"} or _types(other) != {"object"}:
            return None
        ones, others = one.get("properties"), other.get("properties")
        if not isinstance(ones, dict) or not isinstance(others, dict):
            return None
        for name, each in ones.items():
            if name in others and _disjoint(
                self._values(self.resolved(each)), self._values(self.resolved(others[name]))
            ):
                return str(name) or None
        return None

    def _values(self, schema: dict[str, Any]) -> set[str] | None:
        key = id(schema)
        if key not in self._few:
            self._few[key] = _values(schema)
        return self._few[key]


def _disjoint(one: set[str] | None, other: set[str] | None) -> bool:
    return one is not None and other is not None and one.isdisjoint(other)


def _values(schema: dict[str, Any]) -> set[str] | None:
    """The values that alone are allowed, each as JSON; None: not known to be few."""
    listed = [schema["const"]] if "const" in schema else schema.get("enum")
    if not isinstance(listed, list) or len(listed) > _FEW:
        return None
    return {_written(each) for each in listed}


def _written(value: Any) -> str:
    whole = isinstance(value, float) and value.is_integer()
    return json.dumps(int(value) if whole else value, sort_keys=True)


def _types(schema: dict[str, Any]) -> set[str] | None:
    """None: any."""
    told = schema.get("type")
    if not isinstance(told, str | list) or not told:
        return None
    types = {told} if isinstance(told, str) else {each for each in told if isinstance(each, str)}
    return types | ({"number"} if "integer" in types else set())
