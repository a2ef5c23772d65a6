"""Which JSON Schemas an answer can be held to: what is offered is honoured to the letter, and what
is not is refused with its place.

What a schema costs is bounded where it is compiled (`trials`). Nothing here may be combined into an
intersection of regular expressions all the same, which takes minutes for a few dozen bytes, and
compiling recurses, so that depth is counted through `$ref`.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from faults import UserFault
from finetune.serving.structured import counts, lengths
from finetune.serving.structured.formats import ANY_TEXT, FORMATS, LIMITED, SPANS
from finetune.serving.structured.unions import MAX_OPTIONS, Unions

MAX_BYTES = 64 * 1024  # of one schema as JSON
MAX_SCHEMAS = 2000  # subschemas, each property's included
MAX_DEPTH = 300  # subschemas within one another, those of all definitions added up
MAX_PATTERN = 512  # characters
MAX_COUNT = 100_000  # of characters or items asked for

NOTES = frozenset(
    ("title", "description", "default", "examples", "$comment", "$schema", "deprecated")
) | {"readOnly", "writeOnly", "example", "discriminator"}
_TYPES = frozenset(["object", "array", "string", "number", "integer", "boolean", "null"])
_NUMBER = frozenset(["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum", "multipleOf"])
_COUNTS = frozenset(("minItems", "maxItems", "minLength", "maxLength")) | {
    "minProperties",
    "maxProperties",
}
_DEFINITIONS = ("$defs", "definitions")
_ALONE = ("$ref", "anyOf", "oneOf", "allOf", "enum", "const")
_INSTEAD = {
    "uniqueItems": "Leave it out, and drop what is there twice (in pydantic: `list`, not `set`).",
}
_REF = re.compile(r"#|#/(?:\$defs|definitions)/[^/~%]+")


def check(schema: Any, place: str) -> None:
    """Raises UserFault `schema_unsupported`, `invalid_schema` or `schema_too_large`, whose `param`
    is `place` and the way from there."""
    size = len(json.dumps(schema))
    if size > MAX_BYTES:
        raise _too_large(place, f"has {size} bytes, and {MAX_BYTES} are allowed")
    if not isinstance(schema, dict):
        raise _invalid(place, "must be an object")
    _Check(schema, place).run()


@dataclass
class _Check:
    root: dict[str, Any]
    place: str
    _count: int = field(default=0, init=False)
    _unions: Unions = field(init=False)

    def __post_init__(self) -> None:
        self._unions = Unions(self.root)

    def run(self) -> None:
        depth = self._schema(self.root, self.place)
        for name in _DEFINITIONS:
            definitions = _mapping(self.root.get(name, {}), f"{self.place}.{name}")
            for key, each in definitions.items():
                depth += self._schema(each, f"{self.place}.{name}.{key}")
        if depth > MAX_DEPTH:
            raise _too_large(self.place, f"is nested {depth} deep, and {MAX_DEPTH} is allowed")

    def _schema(self, schema: Any, place: str) -> int:
        """How deep it is."""
        self._count += 1
        if self._count > MAX_SCHEMAS:
            raise _too_large(self.place, f"has more than {MAX_SCHEMAS} subschemas")
        if schema is True:
            return 1
        if not isinstance(schema, dict):
            raise _invalid(place, "must be a schema")
        keywords = [key for key in schema if key not in NOTES]
        if schema is self.root:
            keywords = [key for key in keywords if key not in (*_DEFINITIONS, "$id")]
        self._keywords(schema, keywords, place)
        return 1 + max((self._schema(s, at) for s, at in _inner(schema, place)), default=0)

    def _keywords(self, schema: dict[str, Any], keywords: list[str], place: str) -> None:
        for key in keywords:
            if key not in _CHECKS:
                raise _unsupported(f"{place}.{key}", f"`{key}` is not offered", _INSTEAD.get(key))
            _CHECKS[key](schema[key], f"{place}.{key}")
        for key in _ALONE:
            beside = [other for other in keywords if other not in (key, "type")]
            if key in keywords and beside:
                raise _unsupported(f"{place}.{beside[0]}", f"`{beside[0]}` cannot stand by `{key}`")
        self._text(schema, keywords, place)
        _check_counts(schema, place)
        if "oneOf" in keywords:
            self._options(schema["oneOf"], f"{place}.oneOf")
        if "propertyNames" in keywords:
            self._names(schema, f"{place}.propertyNames")
        if (ref := schema.get("$ref")) is not None:
            self._ref(ref, f"{place}.$ref")

    def _text(self, schema: dict[str, Any], keywords: list[str], place: str) -> None:
        strict = [key for key in keywords if key in ("pattern", "format")]
        limits = [key for key in keywords if key in ("minLength", "maxLength")]
        if len(strict) == 2:
            raise _unsupported(
                f"{place}.{strict[1]}", f"`{strict[1]}` cannot stand by `{strict[0]}`"
            )
        if not strict or not limits or not _lengths_matter(schema):
            return
        raise _unsupported(
            f"{place}.{limits[0]}", f"`{limits[0]}` cannot stand by this `{strict[0]}`"
        )

    def _options(self, options: list[Any], place: str) -> None:
        if len(options) > MAX_OPTIONS:
            raise _too_large(place, f"has more than {MAX_OPTIONS} options")
        if self._unions.tags(options) is None:
            raise _unsupported(
                place,
                "its options cannot be told apart",
                "Give each object a property of its own constant value, or write `anyOf`.",
            )

    def _names(self, schema: dict[str, Any], place: str) -> None:
        allowed = self._unions.resolved(schema["propertyNames"])
        listed = [allowed["const"]] if "const" in allowed else allowed.get("enum")
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise _unsupported(place, "only names that are listed, by `enum`, are offered")
        if schema.keys() & {"properties", "required", "patternProperties"}:
            beside = "`properties`, `patternProperties`, `required`"
            raise _unsupported(place, f"`propertyNames` cannot stand by {beside}")

    def _ref(self, ref: str, place: str) -> None:
        if not _REF.fullmatch(ref):
            raise _unsupported(place, "only `#` and `#/$defs/NAME` are offered")
        if ref != "#":
            _, group, name = ref.split("/")
            if name not in _mapping(self.root.get(group, {}), f"{self.place}.{group}"):
                raise _invalid(place, f"names {ref}, which is not there")


def _inner(schema: dict[str, Any], place: str) -> Iterator[tuple[Any, str]]:
    for key, each in schema.get("properties", {}).items():
        yield each, f"{place}.properties.{key}"
    for key, each in schema.get("patternProperties", {}).items():
        yield each, f"{place}.patternProperties.{key}"
    if schema.get("additionalProperties") not in (None, False):
        yield schema["additionalProperties"], f"{place}.additionalProperties"
    if schema.get("items") not in (None, False):
        yield schema["items"], f"{place}.items"
    if "propertyNames" in schema:
        yield schema["propertyNames"], f"{place}.propertyNames"
    for key in ("prefixItems", "anyOf", "oneOf", "allOf"):
        for at, each in enumerate(schema.get(key, [])):
            yield each, f"{place}.{key}.{at}"


# --- keyword by keyword


def _type(value: Any, place: str) -> None:
    types = value if isinstance(value, list) else [value]
    if not types or not all(isinstance(each, str) and each in _TYPES for each in types):
        raise _invalid(place, f"must be of {', '.join(sorted(_TYPES))}, or a list of them")


def _mapping(value: Any, place: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _invalid(place, "must be an object of schemas")
    return value


def _properties(value: Any, place: str) -> None:
    _mapping(value, place)


def _pattern_properties(value: Any, place: str) -> None:
    for pattern in _mapping(value, place):
        _pattern(pattern, f"{place}.{pattern[:64]}")


def _unique(value: Any, place: str) -> None:
    if not isinstance(value, bool):
        raise _invalid(place, "must be true or false")


def _required(value: Any, place: str) -> None:
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise _invalid(place, "must be a list of names")


def _schema_or_bool(value: Any, place: str) -> None:
    if not isinstance(value, dict | bool):
        raise _invalid(place, "must be a schema, true or false")


def _schemas(value: Any, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise _invalid(place, "must be a list of schemas, not empty")


def _one_schema(value: Any, place: str) -> None:
    _schemas(value, place)
    if len(value) > 1:
        raise _unsupported(place, "several schemas at once are not offered")


def _count(value: Any, place: str) -> None:
    if not _whole(value) or not 0 <= value <= MAX_COUNT:
        raise _invalid(place, f"must be a whole number from 0 to {MAX_COUNT}")


def _number(value: Any, place: str) -> None:
    if isinstance(value, bool) or not isinstance(value, int | float) or abs(value) > 2**53:
        raise _invalid(place, "must be a number that 53 bits hold")


def _multiple(value: Any, place: str) -> None:
    _number(value, place)
    if not 1e-6 <= value <= 1e6:
        raise _invalid(place, "must be a number from 0.000001 to 1000000")


def _pattern(value: Any, place: str) -> None:
    if not isinstance(value, str) or len(value) > MAX_PATTERN:
        raise _invalid(place, f"must be a text of at most {MAX_PATTERN} characters")


def _format(value: Any, place: str) -> None:
    if value not in FORMATS:
        raise _unsupported(place, f"of formats only {', '.join(sorted(FORMATS))} are offered")


def _enum(value: Any, place: str) -> None:
    if not isinstance(value, list) or not value:
        raise _invalid(place, "must be a list of values, not empty")


def _ref(value: Any, place: str) -> None:
    if not isinstance(value, str):
        raise _invalid(place, "must be a text")


def _anything(value: Any, place: str) -> None:
    pass


def _whole(value: Any) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


_CHECKS = {
    "type": _type,
    "properties": _properties,
    "patternProperties": _pattern_properties,
    "uniqueItems": _unique,
    "required": _required,
    "additionalProperties": _schema_or_bool,
    "items": _schema_or_bool,
    "prefixItems": _schemas,
    "anyOf": _schemas,
    "oneOf": _schemas,
    "propertyNames": _mapping,
    "allOf": _one_schema,
    "enum": _enum,
    "const": _anything,
    "pattern": _pattern,
    "format": _format,
    "multipleOf": _multiple,
    "$ref": _ref,
} | dict.fromkeys(_COUNTS, _count)
_CHECKS |= dict.fromkeys(_NUMBER - {"multipleOf"}, _number)


def _check_counts(schema: dict[str, Any], place: str) -> None:
    """Raises UserFault where items that differ, or a number of properties, cannot be kept to."""
    if schema.get("uniqueItems") and schema.get("maxItems", 2) > 1:
        what = "items that differ are not offered"
        raise _unsupported(f"{place}.uniqueItems", what, _INSTEAD["uniqueItems"])
    if not counts.least_is_kept(schema):
        what = "more names than are required are not offered, but for one where all are required"
        raise _unsupported(f"{place}.minProperties", what)
    if not counts.most_is_kept(schema):
        what = "not offered beside `properties` that are not required"
        raise _unsupported(f"{place}.maxProperties", what)


def _lengths_matter(schema: dict[str, Any]) -> bool:
    """Whether lengths beside a pattern or a format forbid what these allow, and cannot be kept."""
    if (form := schema.get("format")) is not None:
        low, high = SPANS.get(form, (0, None))
        least, most = schema.get("minLength", 0), schema.get("maxLength")
        if form in ANY_TEXT:
            return False
        if form in LIMITED:
            return bool(least > low)
        return bool(least > low or (most is not None and (high is None or most < high)))
    return lengths.bounded(schema) is None


def _unsupported(place: str, what: str, fix: str | None = None) -> UserFault:
    return UserFault(
        "schema_unsupported",
        f"`{place}`: {what}.",
        fix=fix or "See which schemas are offered in the reference, and write it with those.",
        param=place,
    )


def _invalid(place: str, what: str) -> UserFault:
    return UserFault("invalid_schema", f"`{place}` {what}.", param=place)


def _too_large(place: str, what: str) -> UserFault:
    return UserFault(
        "schema_too_large", f"`{place}` {what}.", fix="Give a smaller schema.", param=place
    )
