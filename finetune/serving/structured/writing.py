"""A schema that is offered, in the words that llguidance knows. What it then allows is allowed by
the schema, too."""

from typing import Any

from finetune.serving.structured import counts, formats, lengths
from finetune.serving.structured.unions import Unions

_LISTS = ("anyOf", "allOf", "prefixItems")
_MAPS = ("properties", "patternProperties", "$defs", "definitions")


def written(root: dict[str, Any], notes: frozenset[str]) -> dict[str, Any]:
    """`root`, which `schemas.checked` gave, without its `notes`; it stays as it is."""
    writer = _Writer(root, notes | {"$id"})
    schema = writer.schema(root)
    for ref, names in writer.tagged.items():
        _, group, name = ref.split("/")
        schema[group][name] = _with_required(schema[group][name], names)
    if writer.shared:
        schema["$defs"] = schema.get("$defs", {}) | writer.shared
    return schema


class _Writer:
    def __init__(self, root: dict[str, Any], notes: frozenset[str]) -> None:
        self._unions = Unions(root)
        self._taken = root.get("$defs", {})
        self._notes = notes
        self.tagged: dict[str, set[str]] = {}  # by reference, what its definition must have
        self.shared: dict[str, Any] = {}  # definitions of our own, by names of no one's

    def schema(self, given: Any) -> Any:
        if not isinstance(given, dict):
            return given
        made = {key: value for key, value in given.items() if key not in self._notes}
        made = counts.without_the_needless(made)
        for key in _MAPS:
            if key in made:
                made[key] = {name: self.schema(each) for name, each in made[key].items()}
        for key in _LISTS:
            if key in made:
                made[key] = [self.schema(each) for each in made[key]]
        for key in ("items", "additionalProperties"):
            if key in made:
                made[key] = self.schema(made[key])
        if "oneOf" in made:
            made["anyOf"] = self._options(made.pop("oneOf"))
        if "propertyNames" in made:
            made |= self._named(made.pop("propertyNames"), made.get("additionalProperties", True))
        return _text(made)

    def _options(self, options: list[Any]) -> list[Any]:
        found = []
        tags = self._unions.tags(options) or []  # `schemas.checked` saw that there are some
        for option, names in zip(options, tags, strict=True):
            ref = option.get("$ref")
            if ref is None:
                found.append(_with_required(self.schema(option), names))
            else:
                found.append({"$ref": ref})
                if names:
                    self.tagged.setdefault(ref, set()).update(names)
        return found

    def _named(self, names: dict[str, Any], each: Any) -> dict[str, Any]:
        allowed = self._unions.resolved(names)
        listed = [allowed["const"]] if "const" in allowed else allowed["enum"]
        name = f"listed-names-{len(self.shared)}"
        while name in self._taken:
            name += "-"
        self.shared[name] = each  # once, as unions of names within one another would multiply
        ref = {"$ref": f"#/$defs/{name}"}
        return {"properties": dict.fromkeys(listed, ref), "additionalProperties": False}


def _with_required(schema: dict[str, Any], names: set[str]) -> dict[str, Any]:
    required = schema.get("required", [])
    more = [name for name in schema.get("properties", {}) if name in names - set(required)]
    return {**schema, "required": [*required, *more]} if more else schema


def _text(schema: dict[str, Any]) -> dict[str, Any]:
    if schema.get("pattern") in formats.REWRITTEN:
        schema["pattern"] = formats.REWRITTEN[schema["pattern"]]
    form = schema.get("format")
    if form is not None and form not in formats.ANY_TEXT:
        schema.pop("minLength", None)  # `schemas.checked` saw that the format is as long by itself
        if form not in formats.LIMITED:
            schema.pop("maxLength", None)
    if form in formats.PATTERNS:
        schema["pattern"] = formats.PATTERNS[schema.pop("format")]
    elif form in formats.ANY_TEXT:
        del schema["format"]
    elif "pattern" in schema and (bounded := lengths.bounded(schema)) is not None:
        schema = {key: schema[key] for key in schema if key not in ("minLength", "maxLength")}
        schema["pattern"] = bounded
    return schema
