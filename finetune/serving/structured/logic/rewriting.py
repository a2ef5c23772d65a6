"""A schema written without the keywords that speak of others, and with its place beside it."""

import math
import re
from collections.abc import Iterable
from itertools import combinations
from typing import Any

from finetune.serving.structured import counts
from finetune.serving.structured.logic import Case
from finetune.serving.structured.logic.cases import MAX_CASES, Cases
from finetune.serving.structured.logic.meeting import possible
from finetune.serving.structured.logic.other_texts import text_case
from finetune.serving.structured.logic.values import KEYWORDS, same
from finetune.serving.structured.refusals import invalid, too_large, unsupported
from finetune.serving.structured.shapes import target
from finetune.serving.structured.unions import Unions

_MAX_LISTS = 400  # of items that differ
_MAX_MADE = 4000  # schemas written for one
_MAX_DEPTH = 80  # of them within one another; a request's body is less deep
_CHOICES = ("$ref", "anyOf", "oneOf", "allOf", "enum", "const")
_SPEAKING = ("not", "dependentRequired", "dependentSchemas")
_SCHEMAS = ("items", "additionalProperties", "propertyNames")
_LISTS = ("anyOf", "oneOf", "allOf", "prefixItems")
_DEFINITIONS = ("$defs", "definitions")
_DEFINITION = re.compile(r"#/(?:\$defs|definitions)/[^/~%]+")
_MAPS = ("properties", "patternProperties", *_DEFINITIONS)
_IF = ("if", "then", "else")


class Plain(dict[str, Any]):
    """A schema, and where it, or what it was made of, stood in the request."""

    def __init__(self, schema: dict[str, Any], place: str, *, made: bool) -> None:
        super().__init__(schema)
        self.place = place
        self._made = made

    def at(self, *way: str) -> str:
        """The place of something within."""
        return self.place if self._made else ".".join((self.place, *way))


def rewritten(
    root: dict[str, Any], place: str, places: dict[int, str], notes: frozenset[str]
) -> Plain:
    """`root`, whose keywords were checked one by one; it stays as it is. `places` of its schemas,
    by their identity. Raises UserFault."""
    return _Writer(root, places, notes).run(place)


class _Writer:
    def __init__(self, root: dict[str, Any], places: dict[int, str], notes: frozenset[str]) -> None:
        self._root = root
        self._places = places
        self._notes = notes
        self._cases = Cases(root, places)
        self._unions = Unions(root)
        self._lifted: dict[str, str] = {}  # names of definitions of our own, by the reference
        self._made = 0
        self._depth = 0

    def run(self, place: str) -> Plain:
        written = self.schema(self._root, place, made=False)
        if isinstance(written, bool):
            raise invalid(place, "allows no answer")
        definitions: dict[str, Any] = {}
        while len(definitions) < len(self._lifted):
            for ref, name in [*self._lifted.items()][len(definitions) :]:
                definitions[name] = self.schema(target(self._root, ref), place)
        if definitions:
            written["$defs"] = written.get("$defs", {}) | definitions
        return written

    def schema(self, given: Any, place: str, *, made: bool = True) -> Any:
        """`place`: of what it was made of, where it is none of the request's own."""
        if isinstance(given, bool):
            return given
        self._made += 1
        if self._made > _MAX_MADE or self._depth == _MAX_DEPTH:
            raise too_large(place, "speaks of too much at once")
        own = self._places.get(id(given))
        place, made = (place, made) if own is None else (own, False)
        self._depth += 1
        try:
            return self._written(given, place, made=made)
        finally:
            self._depth -= 1

    def _written(self, given: dict[str, Any], place: str, *, made: bool) -> Any:
        key = self._speaking(given)
        if key is None:
            return self._as_it_is(given, place, made=made)
        at = place if made else f"{place}.{key}"
        written = self._of_cases(given, place, at)
        if given is not self._root or written is False:
            return written
        kept = {name: given[name] for name in _DEFINITIONS if name in given}
        whole = ({} if written is True else written) | self._within(kept, at)
        return Plain(whole, at, made=True)

    def _speaking(self, schema: dict[str, Any]) -> str | None:
        """The keyword because of which a schema has to be written anew."""
        keys = [key for key in schema if key not in self._notes]
        for key in keys:
            beside = [each for each in keys if each not in (key, "type", *_DEFINITIONS, "$id")]
            if key in _SPEAKING or (key == "if" and schema.keys() & {"then", "else"}):
                return key
            if key in _CHOICES and (beside or self._mixed(key, schema[key])):
                return key
            if key == "uniqueItems" and schema[key] and schema.get("maxItems", 2) > 1:
                return key
            if key in ("properties", "patternProperties") and False in _bools(schema[key].values()):
                return key
            if key == "propertyNames" and not self._are_listed(schema):
                return key
            if key == "prefixItems" and False in _bools(schema[key]):
                return key
        if not counts.least_is_kept(schema):
            return "minProperties"
        return None if counts.most_is_kept(schema) else "maxProperties"

    def _are_listed(self, schema: dict[str, Any]) -> bool:
        names = self._unions.resolved(schema["propertyNames"])
        beside = {"properties", "required", "patternProperties"}
        return bool(names.keys() & {"enum", "const"}) and not schema.keys() & beside

    def _mixed(self, key: str, value: Any) -> bool:
        """Whether options have to be told one from another, or some are none."""
        if key == "allOf" and len(value) > 1:
            return True
        if key in ("anyOf", "oneOf", "allOf") and False in _bools(value):
            return True
        return key == "oneOf" and self._unions.tags(value) is None

    def _as_it_is(self, given: dict[str, Any], place: str, *, made: bool) -> Any:
        left = {key: value for key, value in given.items() if key not in (*self._notes, *_IF)}
        return Plain(self._within(left, place), place, made=made)

    def _within(self, schema: dict[str, Any], place: str) -> dict[str, Any]:
        written = dict(schema)
        if "$ref" in schema:
            written["$ref"] = self._ref(schema["$ref"])
        for key in _SCHEMAS:
            if key in schema:
                written[key] = self.schema(schema[key], place)
        for key in _LISTS:
            if key in schema:
                written[key] = [self.schema(each, place) for each in schema[key]]
        for key in _MAPS:
            if key in schema:
                written[key] = {n: self.schema(each, place) for n, each in schema[key].items()}
        return written

    def _ref(self, ref: str) -> str:
        """What stands elsewhere than in the root's definitions may be written anew."""
        if _DEFINITION.fullmatch(ref) or ref == "#":
            return ref
        name = self._lifted.setdefault(ref, f"referred-to-{len(self._lifted)}")
        while name in self._root.get("$defs", {}):
            name = self._lifted[ref] = f"{name}-"
        return f"#/$defs/{name}"

    # --- of cases

    def _of_cases(self, given: dict[str, Any], place: str, at: str) -> Any:
        written = list[Plain]()
        for case in self._cases.of(given, place):
            written += self._case(case, at)
        ways = {same(each): each for each in written}
        if len(ways) > MAX_CASES:
            raise too_large(at, f"comes to more than {MAX_CASES} cases")
        return _either(list(ways.values()), at)

    def _case(self, case: Case, at: str) -> list[Plain]:
        """The case, or several that it falls into, or none."""
        left = {key: value for key, value in case.items() if key not in ("but", "barred")}
        ways = [self._within(left, at)]
        if case["type"] == "array":
            ways = self._array(ways[0], at)
        elif case["type"] == "object":
            ways = _object(ways[0])
        elif case.get("but"):
            ways = [] if (texts := text_case(case, at)) is None else [texts]
        ways = [way for way in ways if possible(way)]
        if ways and "barred" in case:
            raise case["barred"]
        return [Plain(way, at, made=True) for way in ways]

    def _array(self, case: dict[str, Any], at: str) -> list[dict[str, Any]]:
        prefix = case.get("prefixItems", [])
        if False in _bools(prefix):
            end = [each is False for each in prefix].index(True)
            prefix, case["items"] = prefix[:end], False
            case |= {"prefixItems": prefix}
        if not prefix:
            case.pop("prefixItems", None)
        if case.get("items") is False:
            case["maxItems"] = min(case.get("maxItems", math.inf), len(prefix))
        if not case.pop("uniqueItems", False) or case.get("maxItems", 2) < 2 or not possible(case):
            return [case]
        return [{"type": "array", "enum": lists}] if (lists := self._different(case, at)) else []

    def _different(self, case: dict[str, Any], at: str) -> list[list[Any]]:
        """All lists whose items differ."""
        prefix = [self._listed(each, at) for each in case.get("prefixItems", [])]
        rest = case.get("items", True)
        most = case.get("maxItems", math.inf)
        others = self._listed(rest, at) if most > len(prefix) else []
        found = list[list[Any]]()
        begun: list[list[Any]] = [[]]
        while begun:
            found += [each for each in begun if len(each) >= case.get("minItems", 0)]
            begun = [
                [*each, value]
                for each in begun
                if len(each) < most
                for value in (prefix[len(each)] if len(each) < len(prefix) else others)
                if same(value) not in {same(met) for met in each}
            ]
            if len(found) + len(begun) > _MAX_LISTS:
                what = f"comes to more than {_MAX_LISTS} lists; bound it by `maxItems`"
                raise unsupported(at, what)
        return found

    def _listed(self, schema: Any, at: str) -> list[Any]:
        values = list[Any]()
        for case in self._cases.of(schema, at):
            listed = {"null": [None], "boolean": [False, True]}.get(case["type"])
            if "barred" in case:
                raise case["barred"]
            if "enum" not in case and listed is None:
                what = "items that differ are offered of listed values only"
                fix = "Leave it out, and drop what is there twice (in pydantic: `list`, not `set`)."
                raise unsupported(at, what, fix)
            values += case.get("enum", listed)
        return values


def _bools(schemas: Iterable[Any]) -> list[bool]:
    return [each for each in schemas if isinstance(each, bool)]


def _either(ways: list[Plain], at: str) -> Any:
    bare = [way["type"] for way in ways if way.keys() == {"type"}]
    if set(bare) == KEYWORDS.keys():
        return True
    left = [way for way in ways if way.keys() != {"type"}]
    if bare:
        left.append(Plain({"type": bare if len(bare) > 1 else bare[0]}, at, made=True))
    if len(left) > 1:
        return Plain({"anyOf": left}, at, made=True)
    return left[0] if left else False


def _object(case: dict[str, Any]) -> list[dict[str, Any]]:
    required, properties = set(case.get("required", ())), case.get("properties", {})
    if any(properties.get(name) is False for name in required):
        return []
    if case.get("additionalProperties") is not False or case.get("patternProperties"):
        return _one_more(case)
    properties = {name: each for name, each in properties.items() if each is not False}
    case["properties"] = properties
    least, most = case.pop("minProperties", 0), case.pop("maxProperties", math.inf)
    if required - properties.keys() or not max(least, len(required)) <= min(most, len(properties)):
        return []
    return _counted(case, least - len(required), most - len(required))


def _counted(case: dict[str, Any], least: int, most: float) -> list[dict[str, Any]]:
    """A closed object with so many of its properties that are not required, as objects that require
    enough of them and leave enough of them out."""
    required, properties = case.get("required", []), case["properties"]
    optional = [name for name in properties if name not in required]
    least, most = max(least, 0), int(min(most, len(optional)))
    if math.comb(len(optional), most) * math.comb(most, least) > MAX_CASES:
        return [
            case | {"minProperties": least + len(required), "maxProperties": most + len(required)}
        ]
    ways = list[dict[str, Any]]()
    for left in combinations(optional, most):
        some = {name: properties[name] for name in properties if name in {*required, *left}}
        for needed in combinations(left, least):
            ways.append(case | {"properties": some, "required": [*required, *needed]})
    return ways


def _one_more(case: dict[str, Any]) -> list[dict[str, Any]]:
    """An open object with one property more than are required: one that is known, or any other."""
    required, properties = case.get("required", []), case.get("properties", {})
    known = [name for name in properties if name not in required and properties[name] is not False]
    if case.get("patternProperties") or case.get("minProperties") != len(set(required)) + 1:
        return [case]
    ways = [case | {"required": [*required, name]} for name in known]
    for way in ways:
        del way["minProperties"]
    return [*ways, case | {"properties": properties | dict.fromkeys(known, False)}]
