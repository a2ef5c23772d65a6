"""Whether a schema is written as JSON Schema has it, keyword by keyword, of those that are known
here, and how large it may be."""

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from finetune.serving.structured.formats import FORMATS
from finetune.serving.structured.refusals import invalid, too_large, unsupported

MAX_SCHEMAS = 2000  # subschemas, each property's included
MAX_DEPTH = 300  # subschemas within one another, those of all definitions added up
MAX_PATTERN = 512  # characters
MAX_COUNT = 100_000  # of characters or items asked for

NOTES = frozenset(
    ("title", "description", "default", "examples", "$comment", "$schema", "deprecated")
) | {"readOnly", "writeOnly", "example", "discriminator"}
DEFINITIONS = ("$defs", "definitions")
_TYPES = frozenset(["object", "array", "string", "number", "integer", "boolean", "null"])
_NUMBER = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
_COUNTS = frozenset(("minItems", "maxItems", "minLength", "maxLength")) | {
    "minProperties",
    "maxProperties",
}
_ONE = ("items", "additionalProperties", "propertyNames", "not", "if", "then", "else")
_LISTS = ("prefixItems", "anyOf", "oneOf", "allOf")
_MAPS = ("properties", "patternProperties", "dependentSchemas")


def check(root: dict[str, Any], place: str) -> dict[int, str]:
    """The places of all schemas, by their identity. Raises UserFault."""
    shapes = _Shapes(root, place)
    shapes.run()
    return shapes.places


@dataclass
class _Shapes:
    root: dict[str, Any]
    place: str
    places: dict[int, str] = field(default_factory=dict, init=False)
    _refs: list[tuple[str, str]] = field(default_factory=list, init=False)
    _count: int = field(default=0, init=False)

    def run(self) -> None:
        depth = self._schema(self.root, self.place)
        for name in DEFINITIONS:
            definitions = _mapping(self.root.get(name, {}), f"{self.place}.{name}")
            for key, each in definitions.items():
                depth += self._schema(each, f"{self.place}.{name}.{key}")
        if depth > MAX_DEPTH:
            raise too_large(self.place, f"is nested {depth} deep, and {MAX_DEPTH} is allowed")
        for ref, at in self._refs:
            self._ref(ref, at)

    def _schema(self, schema: Any, place: str) -> int:
        """How deep it is."""
        self._count += 1
        if self._count > MAX_SCHEMAS:
            raise too_large(self.place, f"has more than {MAX_SCHEMAS} subschemas")
        if isinstance(schema, bool):
            return 1
        if not isinstance(schema, dict):
            raise invalid(place, "must be a schema")
        self.places.setdefault(id(schema), place)
        for key, value in schema.items():
            if key in NOTES or (schema is self.root and key in (*DEFINITIONS, "$id")):
                continue
            if key not in _CHECKS:
                raise unsupported(f"{place}.{key}", f"`{key}` is not offered")
            _CHECKS[key](value, f"{place}.{key}")
        if "$ref" in schema:
            self._refs.append((schema["$ref"], f"{place}.$ref"))
        return 1 + max((self._schema(each, at) for each, at in _inner(schema, place)), default=0)

    def _ref(self, ref: str, place: str) -> None:
        """When the places of all schemas are known."""
        if ref != "#" and not ref.startswith("#/"):
            raise unsupported(place, "only references within the schema, `#/…`, are offered")
        schema = target(self.root, ref)
        if schema is None:
            raise invalid(place, f"names {ref}, which is not there")
        if not isinstance(schema, bool) and id(schema) not in self.places:
            raise invalid(place, f"names {ref}, which is no schema")


def target(root: dict[str, Any], ref: str) -> Any:
    """What a reference within `root` leads to, by RFC 6901; None: nothing."""
    found: Any = root
    for step in ref.split("/")[1:]:
        name = unquote(step).replace("~1", "/").replace("~0", "~")
        if isinstance(found, list) and re.fullmatch("0|[1-9][0-9]{0,5}", name):
            found = found[int(name)] if int(name) < len(found) else None
        else:
            found = found.get(name) if isinstance(found, dict) else None
    return found


def _inner(schema: dict[str, Any], place: str) -> Iterator[tuple[Any, str]]:
    for key in _ONE:
        if key in schema:
            yield schema[key], f"{place}.{key}"
    for key in _MAPS:
        for name, each in schema.get(key, {}).items():
            yield each, f"{place}.{key}.{name}"
    for key in _LISTS:
        for at, each in enumerate(schema.get(key, [])):
            yield each, f"{place}.{key}.{at}"


# --- keyword by keyword


def _type(value: Any, place: str) -> None:
    types = value if isinstance(value, list) else [value]
    if not types or not all(isinstance(each, str) and each in _TYPES for each in types):
        raise invalid(place, f"must be of {', '.join(sorted(_TYPES))}, or a list of them")


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise invalid(place, "must be an object of schemas")
    return value


def _properties(value: Any, place: str) -> None:
    _mapping(value, place)


def _pattern_properties(value: Any, place: str) -> None:
    for pattern in _mapping(value, place):
        _pattern(pattern, f"{place}.{pattern[:64]}")


def _unique(value: Any, place: str) -> None:
    if not isinstance(value, bool):
        raise invalid(place, "must be true or false")


def _required(value: Any, place: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise invalid(place, "must be a list of names")


def _schemas(value: Any, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise invalid(place, "must be a list of schemas, not empty")


def _needed(value: Any, place: str) -> None:
    for name, each in _mapping(value, place).items():
        _required(each, f"{place}.{name}")


def _count(value: Any, place: str) -> None:
    if not _whole(value) or not 0 <= value <= MAX_COUNT:
        raise invalid(place, f"must be a whole number from 0 to {MAX_COUNT}")


def _number(value: Any, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        raise invalid(place, "must be a number that 53 bits hold")


def _multiple(value: Any, place: str) -> None:
    _number(value, place)
    if not 1e-6 <= value <= 1e6:
        raise invalid(place, "must be a number from 0.000001 to 1000000")


def _pattern(value: Any, place: str) -> None:
    if not isinstance(value, str) or len(value) > MAX_PATTERN:
        raise invalid(place, f"must be a text of at most {MAX_PATTERN} characters")


def _format(value: Any, place: str) -> None:
    if value not in FORMATS:
        raise unsupported(place, f"of formats only {', '.join(sorted(FORMATS))} are offered")


def _enum(value: Any, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise invalid(place, "must be a list of values, not empty")


def _ref(value: Any, place: str) -> None:
    if not isinstance(value, str):
        raise invalid(place, "must be a text")


def _anything(value: Any, place: str) -> None:
    pass


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS: dict[str, Callable[[Any, str], None]] = {
    "type": _type,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "uniqueItems": _unique,
    "required": _required,
    "prefixItems": _schemas,
    "anyOf": _schemas,
    "oneOf": _schemas,
    "allOf": _schemas,
    "dependentSchemas": _properties,
    "dependentRequired": _needed,
    "enum": _enum,
    "const": _anything,
    "pattern": _pattern,
    "format": _format,
    "multipleOf": _multiple,
    "$ref": _ref,
}
_CHECKS |= dict.fromkeys(_ONE, _anything) | dict.fromkeys(_COUNTS, _count)
_CHECKS |= dict.fromkeys(_NUMBER - {"multipleOf"}, _number)
