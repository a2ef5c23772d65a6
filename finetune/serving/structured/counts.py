"""`minProperties` and `maxProperties`: kept to where nobody has to count names, or where the
grammar can. It takes a name written twice for two, and readers for one."""

from typing import Any


def least_is_kept(schema: dict[str, Any]) -> bool:
    least = schema.get("minProperties", 0)
    required = len(set(schema.get("required", [])))
    return least <= required or (least == required + 1 and not _optional(schema))


def most_is_kept(schema: dict[str, Any]) -> bool:
    return "maxProperties" not in schema or _is_closed(schema) or not _optional(schema)


def without_the_needless(schema: dict[str, Any]) -> dict[str, Any]:
    """Without the counts that the schema's other keywords keep to, which the grammar refuses."""
    needless = {"uniqueItems"}  # at most one item, as `schemas.checked` saw
    if schema.get("minProperties", 0) <= len(set(schema.get("required", []))):
        needless.add("minProperties")
    if _is_closed(schema):
        needless.add("maxProperties")
    return {key: value for key, value in schema.items() if key not in needless}


def _optional(schema: dict[str, Any]) -> bool:
    known = {name for name, each in schema.get("properties", {}).items() if each is not False}
    return bool(known - set(schema.get("required", [])))


def _is_closed(schema: dict[str, Any]) -> bool:
    """Whether nothing but its `properties` can be there, and these are not too many."""
    if schema.get("additionalProperties") is not False or schema.get("patternProperties"):
        return False
    return len(schema.get("properties", {})) <= schema.get("maxProperties", 0)
