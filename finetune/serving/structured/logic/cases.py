"""What a schema allows, and what it does not, as cases."""

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from itertools import combinations
from typing import Any

from faults import UserFault
from finetune.serving.structured.logic import Case
from finetune.serving.structured.logic.meeting import meet, possible
from finetune.serving.structured.logic.other_texts import text_case
from finetune.serving.structured.logic.values import KEYWORDS, of_values, other_scalars
from finetune.serving.structured.refusals import too_large, unsupported
from finetune.serving.structured.shapes import target

MAX_CASES = 64  # of one schema
_MAX_STEPS = 20_000  # of one request's schema: what is met with what
_MAX_DEPTH = 64  # of schemas within one another, through references

_Told = list[Case]


class Cases:
    def __init__(self, root: dict[str, Any], places: dict[int, str]) -> None:
        """`root`: where references lead; `places` of its schemas, by their identity."""
        self._root = root
        self._places = places
        self._steps = 0
        self._depth = 0

    def of(self, schema: Any, place: str) -> _Told:
        """Raises UserFault."""
        if isinstance(schema, bool):
            return [{"type": kind} for kind in KEYWORDS] if schema else []
        place = self._places.get(id(schema), place)
        told = self._plain(schema, place)
        with self._within(place):
            for key, mean in _LOGIC.items():
                if key in schema:
                    told = self.both(told, mean(self, schema, f"{place}.{key}"), place)
        return told

    def outside(self, schema: Any, place: str) -> _Told:
        """What is not of `schema`. Raises UserFault."""
        if isinstance(schema, bool):
            return self.of(not schema, place)
        place = self._places.get(id(schema), place)
        told = list[Case]()
        if "type" in schema:
            told += _other_types(_listed(schema["type"]), f"{place}.type")
        for kind, keywords in KEYWORDS.items():
            for key in schema.keys() & keywords:
                told += _outside(kind, key, schema, f"{place}.{key}")
        with self._within(place):
            for key, mean in _OUTSIDE.items():
                if key in schema:
                    told += mean(self, schema, f"{place}.{key}")
        return _few([case for case in told if possible(case)], place)

    def both(self, some: _Told, others: _Told, place: str) -> _Told:
        self._steps += sum(_size(case) for case in some) * len(others) + len(some)
        if self._steps > _MAX_STEPS:
            raise too_large(place, "speaks of too much at once")
        met = [meet(one, other, place) for one in some for other in others]
        return _few([case for case in met if case is not None], place)

    def all(self, several: Iterable[_Told], place: str) -> _Told:
        told = self.of(True, place)
        for each in several:
            told = self.both(told, each, place)
        return told

    def target(self, ref: str) -> Any:
        return target(self._root, ref)

    @contextmanager
    def _within(self, place: str) -> Iterator[None]:
        if self._depth == _MAX_DEPTH:
            raise too_large(place, f"leads through more than {_MAX_DEPTH} schemas, or to itself")
        self._depth += 1
        try:
            yield
        finally:
            self._depth -= 1

    def _plain(self, schema: dict[str, Any], place: str) -> _Told:
        """By its types and the keywords of these."""
        types = _listed(schema["type"]) if "type" in schema else [*KEYWORDS]
        told = list[Case]()
        for kind in types:
            if kind == "integer" and "number" in types:
                continue
            keywords = KEYWORDS["number" if kind == "integer" else kind]
            case = {"type": kind} | {key: schema[key] for key in schema if key in keywords}
            at = f"{place}.propertyNames"
            told.append(self._named(case, at) if kind == "object" else case)
        return [case for case in told if possible(case)]

    def _named(self, case: Case, place: str) -> Case:
        """`propertyNames` as properties and patterns of a closed object."""
        if "propertyNames" not in case:
            return case
        left = {key: case[key] for key in case if key != "propertyNames"}
        allowed = self.of(case["propertyNames"], place)
        names = [each for each in allowed if each["type"] == "string"]
        if any(each.keys() == {"type"} for each in names):
            return left
        if case.get("patternProperties") or len(names) > 1:
            return left | {"barred": unsupported(place, "such names are not offered here")}
        try:
            return left | _of_names(case, names[0] if names else {"enum": []}, place)
        except UserFault as fault:
            return left | {"barred": fault}


def _of_names(case: Case, allowed: Case, place: str) -> Case:
    """Raises UserFault."""
    if "barred" in allowed:
        raise allowed["barred"]
    properties, more = case.get("properties", {}), case.get("additionalProperties", True)
    if "enum" in allowed:
        known = {name: properties.get(name, more) for name in allowed["enum"]}
        return {"properties": known, "additionalProperties": False}
    texts = text_case(allowed, place)
    if properties or texts is None or texts.keys() != {"type", "pattern"}:
        raise unsupported(place, "such names are not offered beside these `properties`")
    return {"patternProperties": {texts["pattern"]: more}, "additionalProperties": False}


def _listed(types: str | list[str]) -> list[str]:
    return [types] if isinstance(types, str) else types


def _size(case: Case) -> int:
    return 1 + sum(len(case.get(key, ())) for key in ("properties", "prefixItems", "enum", "but"))


def _few(told: _Told, place: str) -> _Told:
    if len(told) > MAX_CASES:
        raise too_large(place, f"comes to more than {MAX_CASES} cases")
    return told


# --- what must hold besides a schema's own keywords


def _dependent(of: Cases, needed: dict[str, Any], place: str) -> _Told:
    """Without a property, or with what it needs."""
    return of.all(
        (
            _others_than("object")
            + [_without(name)]
            + of.both([_with(name)], of.of(each, place), place)
            for name, each in needed.items()
        ),
        place,
    )


def _not_dependent(of: Cases, needed: dict[str, Any], place: str) -> _Told:
    told = list[Case]()
    for name, each in needed.items():
        told += of.both([_with(name)], of.outside(each, place), place)
    return told


def _required(schema: dict[str, Any]) -> dict[str, Any]:
    return {name: {"required": names} for name, names in schema["dependentRequired"].items()}


def _if(of: Cases, schema: dict[str, Any], place: str) -> _Told:
    if not schema.keys() & {"then", "else"}:
        return of.of(True, place)
    then, otherwise = schema.get("then", True), schema.get("else", True)
    held = of.both(of.of(schema["if"], place), of.of(then, place), place)
    return held + of.both(of.outside(schema["if"], place), of.of(otherwise, place), place)


def _not_if(of: Cases, schema: dict[str, Any], place: str) -> _Told:
    if not schema.keys() & {"then", "else"}:
        return []
    then, otherwise = schema.get("then", True), schema.get("else", True)
    held = of.both(of.of(schema["if"], place), of.outside(then, place), place)
    return held + of.both(of.outside(schema["if"], place), of.outside(otherwise, place), place)


def _one_of(of: Cases, schema: dict[str, Any], place: str) -> _Told:
    told = list[Case]()
    for at, option in enumerate(schema["oneOf"]):
        others = [each for number, each in enumerate(schema["oneOf"]) if number != at]
        outside = of.all((of.outside(each, place) for each in others), place)
        told += of.both(of.of(option, place), outside, place)
    return _few(told, place)


def _not_one_of(of: Cases, schema: dict[str, Any], place: str) -> _Told:
    options = schema["oneOf"]
    told = of.all((of.outside(each, place) for each in options), place)
    for one, other in combinations(options, 2):
        told += of.both(of.of(one, place), of.of(other, place), place)
    return told


def _any_of(of: Cases, schema: dict[str, Any], place: str) -> _Told:
    return _few([case for each in schema["anyOf"] for case in of.of(each, place)], place)


def _values(schema: dict[str, Any]) -> list[Any]:
    return [schema["const"]] if "const" in schema else list(schema["enum"])


_Meaning = Callable[[Cases, dict[str, Any], str], _Told]
_LOGIC: dict[str, _Meaning] = {
    "enum": lambda of, schema, place: of_values(schema["enum"]),
    "const": lambda of, schema, place: of_values([schema["const"]]),
    "$ref": lambda of, schema, place: of.of(of.target(schema["$ref"]), place),
    "anyOf": _any_of,
    "allOf": lambda of, schema, place: of.all((of.of(s, place) for s in schema["allOf"]), place),
    "oneOf": _one_of,
    "not": lambda of, schema, place: of.outside(schema["not"], place),
    "if": _if,
    "dependentRequired": lambda of, schema, place: _dependent(of, _required(schema), place),
    "dependentSchemas": lambda of, schema, place: _dependent(of, schema["dependentSchemas"], place),
}


# --- and what does not


def _other_types(types: list[str], place: str) -> Iterator[Case]:
    for kind in KEYWORDS:
        if kind == "number" and "integer" in types and "number" not in types:
            what = "numbers that are not whole are not offered alone"
            yield {"type": "fraction", "barred": unsupported(place, what)}
        elif kind not in types:
            yield {"type": kind}


def _others_than(kind: str) -> _Told:
    return [{"type": each} for each in KEYWORDS if each != kind]


def _with(name: str, schema: Any = True) -> Case:
    return {"type": "object", "properties": {name: schema}, "required": [name]}


def _without(name: str) -> Case:
    return {"type": "object", "properties": {name: False}}


_TURNED = {
    "minimum": ("exclusiveMaximum", 0),
    "maximum": ("exclusiveMinimum", 0),
    "exclusiveMinimum": ("maximum", 0),
    "exclusiveMaximum": ("minimum", 0),
    "minLength": ("maxLength", -1),
    "maxLength": ("minLength", 1),
    "minItems": ("maxItems", -1),
    "maxItems": ("minItems", 1),
    "minProperties": ("maxProperties", -1),
    "maxProperties": ("minProperties", 1),
}


def _outside(kind: str, key: str, schema: dict[str, Any], place: str) -> Iterator[Case]:
    """The cases of one type that one keyword forbids."""
    value = schema[key]
    if key in _TURNED:
        turned, more = _TURNED[key]
        if value + more >= 0 or more == 0:
            yield {"type": kind, turned: value + more}
    elif key == "prefixItems":
        for at, each in enumerate(value):
            if each is not True:
                prefix = [*[True] * at, _negated(each)]
                yield {"type": kind, "prefixItems": prefix, "minItems": at + 1}
    elif key == "required":
        yield from (_without(name) for name in dict.fromkeys(value))
    elif key == "properties":
        yield from (_with(name, _negated(each)) for name, each in value.items() if each is not True)
    elif value is not True or key == "uniqueItems":
        yield from _outside_of_the_rest(kind, key, schema, place)


def _outside_of_the_rest(kind: str, key: str, schema: dict[str, Any], place: str) -> Iterator[Case]:
    if key == "items" and schema[key] is False:
        yield {"type": kind, "minItems": len(schema.get("prefixItems", [])) + 1}
    elif key == "additionalProperties" and schema[key] is False and _all_required(schema):
        # Where one of them is missing, the negation of `required` tells
        names = list(schema.get("properties", {}))
        yield {"type": kind, "required": names, "minProperties": len(names) + 1}
    elif schema[key] is not False or key != "uniqueItems":
        yield {"type": kind, "barred": unsupported(place, "its opposite is not offered")}


def _all_required(schema: dict[str, Any]) -> bool:
    named = schema.get("properties", {}).keys() | schema.get("patternProperties", {})
    return not named - set(schema.get("required", []))


def _negated(schema: Any) -> Any:
    return not schema if isinstance(schema, bool) else {"not": schema}


def _outside_values(of: Cases, schema: dict[str, Any], place: str) -> _Told:
    values = _values(schema)
    listed = of_values(values)
    told = [{"type": kind} for kind in KEYWORDS if kind not in {case["type"] for case in listed}]
    for case in listed:
        if "enum" in case:
            told += other_scalars(case["type"], case["enum"])
    for kind in ("array", "object"):
        structures = [case for case in listed if case["type"] == kind]
        if structures:
            outside = (of.outside(case, place) for case in structures)
            told += [case for case in of.all(outside, place) if case["type"] == kind]
    return told


_OUTSIDE: dict[str, _Meaning] = {
    "enum": _outside_values,
    "const": _outside_values,
    "$ref": lambda of, schema, place: of.outside(of.target(schema["$ref"]), place),
    "anyOf": lambda of, schema, place: of.all(
        (of.outside(each, place) for each in schema["anyOf"]), place
    ),
    "allOf": lambda of, schema, place: [
        case for each in schema["allOf"] for case in of.outside(each, place)
    ],
    "oneOf": _not_one_of,
    "not": lambda of, schema, place: of.of(schema["not"], place),
    "if": _not_if,
    "dependentRequired": lambda of, schema, place: _not_dependent(of, _required(schema), place),
    "dependentSchemas": lambda of, schema, place: _not_dependent(
        of, schema["dependentSchemas"], place
    ),
}
