"""Keywords that speak of others: what a random schema allows by a validator, and what the grammar
that was made of it does, are the same."""

import json
from collections.abc import Iterator
from itertools import permutations
from typing import Any

import jsonschema
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from llguidance import LLMatcher

from faults import UserFault
from finetune.serving.structured import forms
from finetune.serving.structured.compiler import limits, tokenizer_of
from tests.tiny import build_tokenizer

TOKENIZER = build_tokenizer(vocab_size=320)


@pytest.fixture(scope="module")
def vocabulary() -> Any:
    told = TOKENIZER.backend_tokenizer.to_str()
    return tokenizer_of({"tokenizer": told, "size": len(TOKENIZER), "stops": [2]})


class Grammar:
    """Raises UserFault for a schema that is not offered."""

    def __init__(self, vocabulary: Any, schema: Any) -> None:
        self._vocabulary = vocabulary
        source = forms.of_schema(schema, "s")
        self._matcher = LLMatcher(vocabulary, source, log_level=0, limits=limits())
        if self._matcher.is_error():
            raise UserFault("invalid_schema", self._matcher.get_error())

    def takes(self, value: Any) -> bool:
        """In any order of its names: the grammar writes them in one."""
        return any(self._takes(json.dumps(each, ensure_ascii=False)) for each in _orders(value))

    def _takes(self, text: str) -> bool:
        matcher, tokens = self._matcher.deep_copy(), self._vocabulary.tokenize_str(text)
        return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def _orders(value: Any) -> Iterator[Any]:
    if not isinstance(value, dict):
        yield value
        return
    for order in permutations(value):
        yield {name: value[name] for name in order}


PAID = {
    "type": "object",
    "properties": {
        "by": {"enum": ["card", "transfer"]},
        "card": {"type": "string"},
        "iban": {"type": "string"},
    },
    "required": ["by"],
    "additionalProperties": False,
    "if": {"properties": {"by": {"const": "card"}}},
    "then": {"required": ["card"]},
    "else": {"required": ["iban"], "properties": {"card": False}},
}
MEANT: dict[str, tuple[Any, list[Any], list[Any]]] = {
    "if on a tag": (
        PAID,
        [{"by": "card", "card": "1"}, {"by": "transfer", "iban": "1"}],
        [{"by": "card"}, {"by": "transfer", "card": "1"}, {"by": "transfer"}],
    ),
    "not a text": (
        {"type": "string", "not": {"enum": ["red", "r", "a-b]^"]}},
        ["", "re", "redd", "a-b]", "ä"],
        ["red", "r", "a-b]^"],
    ),
    "not a text, of a length": (
        {"type": "string", "not": {"const": "ab"}, "minLength": 2, "maxLength": 3},
        ["abc", "ba"],
        ["ab", "a", "abcd"],
    ),
    "not a number": ({"type": "integer", "not": {"const": 3}}, [2, 4, -3], [3]),
    "not a type": ({"not": {"type": ["string", "object"]}}, [1, None, [], True], ["", {}]),
    "not required": ({"type": "object", "not": {"required": ["a"]}}, [{}, {"b": 1}], [{"a": 1}]),
    "not empty": ({"type": "array", "not": {"const": []}}, [[1]], [[]]),
    "needs another": (
        {"type": "object", "dependentRequired": {"a": ["b"]}},
        [{}, {"b": 1}, {"a": 1, "b": 1}],
        [{"a": 1}],
    ),
    "several at once": (
        {
            "allOf": [
                {"$ref": "#/$defs/named"},
                {"properties": {"age": {"type": "integer"}}, "required": ["age"]},
            ],
            "$defs": {"named": {"type": "object", "properties": {"name": {"type": "string"}}}},
        },
        [{"name": "x", "age": 1}, {"age": 1}],
        [{"name": "x"}, {"name": 1, "age": 1}],
    ),
    "beside a reference": (
        {"$ref": "#/$defs/n", "minimum": 3, "$defs": {"n": {"type": "integer", "maximum": 5}}},
        [3, 5],
        [2, 6],
    ),
    "a list of what is 1 and true": (
        {"const": {"a": 1}, "additionalProperties": {"enum": [True, 1.0]}},
        [{"a": 1}],
        [{"a": True}],
    ),
    "nothing that is 1 and true": (
        {"anyOf": [{"allOf": [{"const": [1]}, {"const": [True]}]}, {"type": "null"}]},
        [None],
        [[1], [True]],
    ),
    "one of what overlaps": (
        {"oneOf": [{"type": "integer", "minimum": 2}, {"type": "integer", "maximum": 4}]},
        [1, 5],
        [2, 3, 4],
    ),
    "a set": (
        {"type": "array", "items": {"enum": ["a", "b", "c"]}, "uniqueItems": True, "minItems": 1},
        [["c"], ["c", "a", "b"]],
        [[], ["a", "a"], ["a", "b", "a"]],
    ),
    "at least two names": (
        {
            "type": "object",
            "properties": {name: {"type": "null"} for name in "abc"},
            "additionalProperties": False,
            "minProperties": 2,
        },
        [{"a": None, "c": None}],
        [{"a": None}, {}],
    ),
    "at least one name, of any": (
        {"type": "object", "properties": {"a": {"type": "null"}}, "minProperties": 1},
        [{"a": None}, {"b": 1}],
        [{}, {"a": 1}],
    ),
    "names of a pattern": (
        {"type": "object", "propertyNames": {"pattern": "^[a-z]$"}},
        [{"a": 1}, {}],
        [{"A": 1}],
    ),
    "any names": ({"type": "object", "propertyNames": {"type": "string"}}, [{"A": 1}], [1]),
    "a reference to a property": (
        {"properties": {"a": {"not": {"type": "null"}}, "b": {"$ref": "#/properties/a"}}},
        [{"b": 1}],
        [{"b": None}],
    ),
    "a control character": ({"const": "a\u0001b"}, ["a\u0001b"], ["ab", "a\u0002b"]),
    "a control character in a pattern": (
        {"type": "string", "pattern": "^a\\x01b$"},
        ["a\u0001b"],
        ["ab"],
    ),
}


@pytest.mark.parametrize("name", MEANT)
def test_what_is_meant_is_taken_and_nothing_else(vocabulary: Any, name: str) -> None:
    schema, allowed, forbidden = MEANT[name]
    grammar = Grammar(vocabulary, schema)
    validator = jsonschema.Draft202012Validator(schema)
    for value in allowed:
        assert validator.is_valid(value)
        assert grammar.takes(value), value
    for value in forbidden:
        assert not validator.is_valid(value)
        assert not grammar.takes(value), value


REFUSED: dict[str, tuple[Any, str, str]] = {
    "no answer": (
        {"type": "string", "not": {"type": "string"}},
        "s",
        "invalid_schema",
    ),
    "a text that is not of a pattern": (
        {"type": "string", "not": {"pattern": "^a"}},
        "s.not.pattern",
        "schema_unsupported",
    ),
    "numbers but whole": (
        {"type": "number", "not": {"type": "integer"}},
        "s.not.type",
        "schema_unsupported",
    ),
    "two patterns": (
        {"allOf": [{"type": "string", "pattern": "^a"}, {"pattern": "b$"}]},
        "s.allOf",
        "schema_unsupported",
    ),
    "items that differ and are not listed": (
        {"properties": {"a": {"type": "array", "items": {"type": "string"}, "uniqueItems": True}}},
        "s.properties.a.uniqueItems",
        "schema_unsupported",
    ),
    "too many lists": (
        {"type": "array", "items": {"enum": [*"abcdefgh"]}, "uniqueItems": True},
        "s.uniqueItems",
        "schema_unsupported",
    ),
    "what leads back to itself": (
        {"allOf": [{"$ref": "#"}, {"type": "object"}]},
        "s",
        "schema_too_large",
    ),
    "others than listed names beside a control character": (
        {"properties": {"a": {"const": "\u0001"}}},
        "s.additionalProperties",
        "schema_unsupported",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_told_is_refused(name: str) -> None:
    schema, place, code = REFUSED[name]
    with pytest.raises(UserFault) as caught:
        forms.of_schema(schema, "s")
    assert (caught.value.code, caught.value.param) == (code, place)


def _many() -> Any:
    parts = {f"p{i}": {"const": i} for i in range(40)}
    return {"type": "object", "dependentRequired": {name: [*parts] for name in parts}}


def _wide() -> Any:
    options = [{"properties": {f"p{i}{j}": {} for j in range(20)}} for i in range(60)]
    return {"allOf": [{"anyOf": options}, {"anyOf": options}, {"anyOf": options}]}


def _back() -> Any:
    both = {"allOf": [{"$ref": "#/$defs/a"}, {"$ref": "#/$defs/b"}]}
    one = {"type": "object", "properties": {"n": {"$ref": "#/$defs/b"}, "m": both}}
    other = {"type": "object", "properties": {"n": {"$ref": "#/$defs/a"}, "m": both}}
    return both | {"$defs": {"a": one, "b": other}}


@pytest.mark.parametrize("schema", [_many(), _wide(), _back()], ids=["many", "wide", "back"])
def test_what_multiplies_is_refused_before_it_costs_much(schema: Any) -> None:
    with pytest.raises(UserFault) as caught:
        forms.of_schema(schema, "s")
    assert caught.value.code == "schema_too_large"


# --- anything

VALUES: list[Any] = [None, True, False, 0, 1, 2, 3, "", "a", "b", "ab", [], ["a"], ["a", "b"]]
VALUES += [["a", "a"], [1], [1, 2], {}, {"a": 1}, {"b": 1}, {"a": 1, "b": 1}, {"c": None}]
VALUES += [{"a": "a"}, {"a": None, "c": 1}, {"b": "b", "c": 2}, [[]], [{}], {"a": []}]
NAMES = st.sampled_from("abc")
FLAT = st.one_of(
    st.builds(lambda v: {"const": v}, st.sampled_from(VALUES)),
    st.builds(lambda v: {"enum": v}, st.lists(st.sampled_from(VALUES), min_size=1, max_size=4)),
    st.builds(
        lambda t: {"type": t},
        st.sampled_from(["null", "boolean", "string", "number", "integer", "array", "object"]),
    ),
    st.builds(
        lambda key, n: {key: n},
        st.sampled_from(
            ["minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum"]
            + ["minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties"]
        ),
        st.integers(0, 2),
    ),
    st.builds(lambda names: {"required": names}, st.lists(NAMES, max_size=2, unique=True)),
    st.builds(lambda a, b: {"dependentRequired": {a: [b]}}, NAMES, NAMES),
    st.just({"items": {"enum": ["a", "b"]}, "uniqueItems": True}),
    st.just({"additionalProperties": False}),
    st.booleans(),
)


def _deeper(inner: Any) -> Any:
    some = st.lists(inner, min_size=1, max_size=3)
    one = st.one_of(
        st.builds(lambda s: {"not": s}, inner),
        st.builds(lambda s: {"items": s}, inner),
        st.builds(lambda s: {"prefixItems": s}, some),
        st.builds(lambda key, s: {key: s}, st.sampled_from(["anyOf", "allOf", "oneOf"]), some),
        st.builds(lambda a, b, c: {"if": a, "then": b, "else": c}, inner, inner, inner),
        st.builds(lambda s: {"properties": s}, st.dictionaries(NAMES, inner, max_size=3)),
        st.builds(lambda n, s: {"dependentSchemas": {n: s}}, NAMES, inner),
        st.builds(lambda s: {"additionalProperties": s}, inner),
        st.just({"$ref": "#/$defs/d"}),
    )
    return st.builds(_beside, one, st.one_of(one, FLAT))


def _beside(one: Any, other: Any) -> Any:
    return {**one, **other} if isinstance(other, dict) else one


SCHEMAS = st.recursive(FLAT, _deeper, max_leaves=8).filter(lambda s: isinstance(s, dict))


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(schema=SCHEMAS, definition=FLAT)
def test_what_is_offered_means_what_a_validator_reads(
    vocabulary: Any, schema: Any, definition: Any
) -> None:
    schema = schema | {"$defs": {"d": definition}}
    validator = jsonschema.Draft202012Validator(schema)
    try:
        grammar = Grammar(vocabulary, schema)
    except UserFault:
        return
    for value in VALUES:
        assert grammar.takes(value) == validator.is_valid(value), value
