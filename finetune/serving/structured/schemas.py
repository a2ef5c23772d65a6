"""Which JSON Schemas an answer can be held to: what is offered is honoured to the letter, and what
is not is refused with its place.

What a schema costs is bounded where it is compiled (`trials`). Nothing here may be combined into an
intersection of regular expressions all the same, which takes minutes for a few dozen bytes, and
compiling recurses, so that depth is counted through `$ref`.
"""

import json
from collections.abc import Iterator
from typing import Any

from finetune.serving.structured import counts, escapes, lengths, shapes
from finetune.serving.structured.formats import ANY_TEXT, LIMITED, SPANS
from finetune.serving.structured.logic.rewriting import Plain, rewritten
from finetune.serving.structured.refusals import invalid, too_large, unsupported
from finetune.serving.structured.shapes import DEFINITIONS, MAX_DEPTH, MAX_SCHEMAS, NOTES
from finetune.serving.structured.unions import MAX_OPTIONS, Unions

MAX_BYTES = 64 * 1024  # of one schema as JSON


def checked(schema: Any, place: str) -> Plain:
    """The schema without the keywords that speak of others: what is allowed stays the same. Raises
    UserFault `schema_unsupported`, `invalid_schema` or `schema_too_large`, whose `param` is `place`
    and the way from there."""
    size = len(json.dumps(schema))
    if size > MAX_BYTES:
        raise too_large(place, f"has {size} bytes, and {MAX_BYTES} are allowed")
    if not isinstance(schema, dict):
        raise invalid(place, "must be an object")
    plain = rewritten(schema, place, shapes.check(schema, place), NOTES)
    _Check(plain).run()
    return plain


class _Check:
    """Of keywords beside one another."""

    def __init__(self, root: Plain) -> None:
        self._root = root
        self._count = 0
        self._unions = Unions(root)
        self._controls = escapes.may_have_controls(root)

    def run(self) -> None:
        depth = self._schema(self._root)
        for name in DEFINITIONS:
            for each in self._root.get(name, {}).values():
                depth += self._schema(each)
        if depth > MAX_DEPTH:
            raise too_large(
                self._root.place, f"comes to {depth} schemas in one another, and {MAX_DEPTH} may be"
            )

    def _schema(self, schema: Plain | bool) -> int:
        """How deep it is."""
        self._count += 1
        if self._count > MAX_SCHEMAS:
            raise too_large(self._root.place, f"comes to more than {MAX_SCHEMAS} schemas")
        if isinstance(schema, bool):
            return 1
        _check_text(schema)
        _check_counts(schema)
        if self._controls:
            _check_names(schema)
        if len(schema.get("oneOf", ())) > MAX_OPTIONS:
            raise too_large(schema.at("oneOf"), f"has more than {MAX_OPTIONS} options")
        if "propertyNames" in schema:
            self._names(schema)
        return 1 + max((self._schema(each) for each in _inner(schema)), default=0)

    def _names(self, schema: Plain) -> None:
        place = schema.at("propertyNames")
        allowed = self._unions.resolved(schema["propertyNames"])
        listed = [allowed["const"]] if "const" in allowed else allowed.get("enum")
        if not isinstance(listed, list) or not all(isinstance(each, str) for each in listed):
            raise unsupported(place, "only names that are listed, by `enum`, are offered")
        if schema.keys() & {"properties", "required", "patternProperties"}:
            beside = "`properties`, `patternProperties`, `required`"
            raise unsupported(place, f"`propertyNames` cannot stand by {beside}")


def _inner(schema: Plain) -> Iterator[Plain | bool]:
    for key in ("items", "additionalProperties", "propertyNames"):
        if key in schema:
            yield schema[key]
    for key in ("properties", "patternProperties"):
        yield from schema.get(key, {}).values()
    for key in ("prefixItems", "anyOf", "oneOf", "allOf"):
        yield from schema.get(key, ())


def _check_text(schema: Plain) -> None:
    strict = [key for key in schema if key in ("pattern", "format")]
    limits = [key for key in schema if key in ("minLength", "maxLength")]
    if len(strict) == 2:
        raise unsupported(schema.at(strict[1]), f"`{strict[1]}` cannot stand by `{strict[0]}`")
    if strict and limits and _lengths_matter(schema):
        what = f"`{limits[0]}` cannot stand by this `{strict[0]}`"
        raise unsupported(schema.at(limits[0]), what)


def _check_counts(schema: Plain) -> None:
    """Raises UserFault where a number of properties cannot be kept to."""
    if not counts.least_is_kept(schema):
        what = "more names than are required are not offered, but for one where all are required"
        raise unsupported(schema.at("minProperties"), what)
    if not counts.most_is_kept(schema):
        what = "not offered beside `properties` that are not required"
        raise unsupported(schema.at("maxProperties"), what)


def _check_names(schema: Plain) -> None:
    """Raises UserFault where others than listed names may be, which could be spelt to pass for such
    a name."""
    named = schema.get("properties") or schema.get("patternProperties")
    if named and schema.get("additionalProperties") is not False:
        what = "others than listed names are not offered where a schema has control characters"
        raise unsupported(schema.at("additionalProperties"), what)


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
