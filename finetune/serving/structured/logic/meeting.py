"""Two cases at once: what is of both."""

import math
from collections.abc import Callable
from fractions import Fraction
from typing import Any

from faults import UserFault
from finetune.serving.structured.logic import Case
from finetune.serving.structured.logic.values import same, whole
from finetune.serving.structured.refusals import unsupported

_LEAST = ("minLength", "minimum", "exclusiveMinimum", "minItems", "minProperties")
_MOST = ("maxLength", "maximum", "exclusiveMaximum", "maxItems", "maxProperties")
_NUMBERS = ("number", "integer", "fraction")  # the last: numbers that are not whole


def meet(one: Case, other: Case, place: str) -> Case | None:
    """None: nothing is of both. Raises nothing: what cannot be told is a barred case."""
    kind = _type(one["type"], other["type"])
    if kind is None:
        return None
    both: Case = {"type": kind}
    for case, bare in ((one, other), (other, one)):
        if bare.keys() == {"type"}:
            return case | both
    for barred in (one.get("barred"), other.get("barred")):
        if barred is not None:
            both.setdefault("barred", barred)
    if "enum" in one or "enum" in other:
        return _listed(both, one, other, place)
    for keys, choose in ((_LEAST, max), (_MOST, min)):
        for key in keys:
            if found := [case[key] for case in (one, other) if key in case]:
                both[key] = choose(found)
    try:
        _BY_TYPE.get(kind, _nothing_more)(both, one, other, place)
    except UserFault as fault:
        both.setdefault("barred", fault)
    return both if possible(both) else None


def possible(case: Case) -> bool:
    """Whether its counts leave anything."""
    for kind in ("Length", "Items", "Properties"):
        if case.get(f"min{kind}", 0) > case.get(f"max{kind}", math.inf):
            return False
    return case["type"] not in _NUMBERS or "enum" in case or _range(case)


def at_once(one: Any, other: Any) -> Any:
    """Two schemas as one, not yet written."""
    if one is False or other is False:
        return False
    if one is True or one is other or same(one) == same(other):
        return other
    return one if other is True else {"allOf": [one, other]}


def _type(one: str, other: str) -> str | None:
    if one == other:
        return one
    kinds = {one, other}
    return (kinds - {"number"}).pop() if "number" in kinds and kinds < {*_NUMBERS} else None


def _listed(both: Case, one: Case, other: Case, place: str) -> Case | None:
    values = one["enum"] if "enum" in one else other["enum"]
    try:
        left = [each for each in values if _is(one, each, place) and _is(other, each, place)]
    except UserFault as fault:
        return both | {"enum": values, "barred": fault}
    return both | {"enum": left} if left else None


def _is(case: Case, value: Any, place: str) -> bool:
    if "enum" in case:
        return same(value) in {same(each) for each in case["enum"]}
    if isinstance(value, str):
        return _is_text(case, value, place)
    return isinstance(value, bool) or value is None or _is_number(case, value)


def _is_text(case: Case, value: str, place: str) -> bool:
    if value in case.get("but", ()):
        return False
    if not case.get("minLength", 0) <= len(value) <= case.get("maxLength", math.inf):
        return False
    for key in ("pattern", "format"):
        if key in case:
            raise unsupported(place, f"a `{key}` cannot choose among listed texts")
    return True


def _is_number(case: Case, value: float) -> bool:
    if case["type"] != "number" and (case["type"] == "integer") != whole(value):
        return False
    if not case.get("minimum", -math.inf) <= value <= case.get("maximum", math.inf):
        return False
    if not case.get("exclusiveMinimum", -math.inf) < value < case.get("exclusiveMaximum", math.inf):
        return False
    return "multipleOf" not in case or _is_multiple(value, case["multipleOf"])


def _is_multiple(value: float, step: float) -> bool:
    return (Fraction(repr(value)) / Fraction(repr(step))).denominator == 1


def _range(case: Case) -> bool:
    low, high = case.get("minimum", -math.inf), case.get("maximum", math.inf)
    above, below = case.get("exclusiveMinimum", -math.inf), case.get("exclusiveMaximum", math.inf)
    if case["type"] == "integer":
        lows = [math.ceil(low)] if low > -math.inf else []
        lows += [math.floor(above) + 1] if above > -math.inf else []
        highs = [math.floor(high)] if high < math.inf else []
        highs += [math.ceil(below) - 1] if below < math.inf else []
        return not lows or not highs or max(lows) <= min(highs)
    return low <= high and low < below and above < high and above < below


def _nothing_more(both: Case, one: Case, other: Case, place: str) -> None:
    pass


def _texts(both: Case, one: Case, other: Case, place: str) -> None:
    if but := [*one.get("but", ()), *other.get("but", ())]:
        both["but"] = [*dict.fromkeys(but)]
    for key in ("pattern", "format"):
        found = {case[key] for case in (one, other) if key in case}
        if len(found) > 1:
            raise unsupported(place, f"two of `{key}` at once are not offered")
        if found:
            both[key] = found.pop()


def _numbers(both: Case, one: Case, other: Case, place: str) -> None:
    steps = sorted({case["multipleOf"] for case in (one, other) if "multipleOf" in case})
    if len(steps) == 2 and not _is_multiple(steps[1], steps[0]):
        if not (whole(steps[0]) and whole(steps[1])):
            raise unsupported(place, "such two of `multipleOf` at once are not offered")
        steps = [math.lcm(int(steps[0]), int(steps[1]))]
    if steps:
        both["multipleOf"] = steps[-1]


def _arrays(both: Case, one: Case, other: Case, place: str) -> None:
    if one.get("uniqueItems") or other.get("uniqueItems"):
        both["uniqueItems"] = True
    ones, others = one.get("prefixItems", []), other.get("prefixItems", [])
    rest, more = one.get("items", True), other.get("items", True)
    prefix = [
        at_once(
            ones[at] if at < len(ones) else rest,
            others[at] if at < len(others) else more,
        )
        for at in range(max(len(ones), len(others)))
    ]
    if prefix:
        both["prefixItems"] = prefix
    if (items := at_once(rest, more)) is not True:
        both["items"] = items


def _objects(both: Case, one: Case, other: Case, place: str) -> None:
    if required := [*one.get("required", ()), *other.get("required", ())]:
        both["required"] = [*dict.fromkeys(required)]
    if "propertyNames" in one or "propertyNames" in other:
        raise unsupported(place, "`propertyNames` cannot stand by `patternProperties` here")
    for ours, theirs in ((one, other), (other, one)):
        unknown = ours.get("patternProperties", {}).keys() - theirs.get("patternProperties", {})
        if unknown and theirs.get("additionalProperties", True) is not True:
            raise unsupported(place, "its `patternProperties` cannot stand by a closed object")
    properties = {
        name: at_once(_property(one, name, place), _property(other, name, place))
        for name in (one.get("properties", {}) | other.get("properties", {}))
    }
    patterns = {
        pattern: at_once(
            one.get("patternProperties", {}).get(pattern, True),
            other.get("patternProperties", {}).get(pattern, True),
        )
        for pattern in (one.get("patternProperties", {}) | other.get("patternProperties", {}))
    }
    more = at_once(one.get("additionalProperties", True), other.get("additionalProperties", True))
    both |= {"properties": properties} if properties else {}
    both |= {"patternProperties": patterns} if patterns else {}
    both |= {} if more is True else {"additionalProperties": more}


def _property(case: Case, name: str, place: str) -> Any:
    properties = case.get("properties", {})
    if name in properties:
        return properties[name]
    more = case.get("additionalProperties", True)
    if more is not True and case.get("patternProperties"):
        what = f"`{name}` may be of one of its `patternProperties`"
        raise unsupported(place, what)
    return more


_BY_TYPE: dict[str, Callable[[Case, Case, Case, str], None]] = {
    "string": _texts,
    "number": _numbers,
    "integer": _numbers,
    "fraction": _numbers,
    "array": _arrays,
    "object": _objects,
}
