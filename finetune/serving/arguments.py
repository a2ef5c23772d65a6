"""What an argument may be that is written as a text where it is one, and as JSON where it is not:
its schema has to tell which of the two was meant."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from faults.nesting import loads
from finetune.serving.finite import finite

CHOICES = ("anyOf", "oneOf", "allOf")
_DEPTH = 32  # of references and unions within one another that are followed
_JSON = {str: "string", bool: "boolean", int: "integer", float: "number", type(None): "null"}
_JSON |= {dict: "object", list: "array"}


@dataclass(frozen=True)
class Options:
    """`texts`: schemas of texts, without their `type`; `others`: of all else. `open`: the schema
    leaves the type open."""

    texts: list[dict[str, Any]]
    others: list[dict[str, Any]]
    open: bool = False

    @property
    def listed(self) -> frozenset[str]:
        return frozenset(each for text in self.texts for each in text.get("enum", ()))

    def read(self, written: str) -> Any:
        """The value that was written, never a NaN."""
        if not self.others or written in self.listed:
            return written
        try:
            loaded = finite(loads(written))
        except ValueError:
            return written
        if self.texts and not self.open and not any(_admits(each, loaded) for each in self.others):
            return written
        return loaded


def options(schema: Any, root: dict[str, Any]) -> Options:
    """`root`: where the schema's references lead."""
    return _options(schema, root, set(), 0)


def _options(schema: Any, root: dict[str, Any], met: set[str], depth: int) -> Options:
    """`met`: references that are followed already, as unions of unions would multiply."""
    if not isinstance(schema, dict):
        return Options([{}], [{}], open=True)
    if "$ref" in schema:
        if depth > _DEPTH or (ref := str(schema["$ref"])) in met:
            return Options([], [])
        met.add(ref)
        return _options(resolved(schema, root), root, met, depth + 1)
    for key in CHOICES:
        if isinstance(schema.get(key), list) and "type" not in schema:
            if depth > _DEPTH:
                return Options([], [])
            return _joined(_options(each, root, met, depth + 1) for each in schema[key])
    types = schema.get("type")
    named = [types] if isinstance(types, str) else types if isinstance(types, list) else None
    values = [schema["const"]] if "const" in schema else schema.get("enum")
    if isinstance(values, list):
        return _of_values(values, named)
    if named is None:
        return Options([{}], [schema], open=True)
    text = {key: value for key, value in schema.items() if key != "type"}
    rest = [each for each in named if each != "string"]
    return Options([text] if "string" in named else [], [{**schema, "type": rest}] if rest else [])


def resolved(schema: Any, root: dict[str, Any]) -> Any:
    """What a reference, or one behind another, stands for; None where that is nothing."""
    for _ in range(_DEPTH):
        if not isinstance(schema, dict) or "$ref" not in schema:
            return schema
        way = str(schema["$ref"]).split("/")
        if way == ["#"]:
            schema = root
        else:
            group = root.get(way[1]) if len(way) == 3 else None
            schema = group.get(way[2]) if isinstance(group, dict) else None
    return None


def _joined(several: Iterable[Options]) -> Options:
    texts, others, undecided = list[dict[str, Any]](), list[dict[str, Any]](), False
    for each in several:
        texts += each.texts
        others += each.others
        undecided = undecided or each.open
    return Options(texts, others, undecided)


def _of_values(values: list[Any], types: list[str] | None) -> Options:
    texts = [each for each in values if isinstance(each, str)]
    others = [each for each in values if not isinstance(each, str)]
    if types is not None:
        texts = texts if "string" in types else []
        others = [each for each in others if _of_type(each, types)]
    return Options([{"enum": texts}] if texts else [], [{"enum": others}] if others else [])


def _admits(schema: dict[str, Any], value: Any) -> bool:
    if "enum" in schema:
        return value in schema["enum"]
    return "type" not in schema or _of_type(value, schema["type"])


def _of_type(value: Any, types: list[str]) -> bool:
    named = _JSON[type(value)]
    return named in types or (named == "integer" and "number" in types)
