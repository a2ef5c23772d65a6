"""Answers held to a form: a random model that follows any schema offered, and what is refused."""

import json
from typing import Any

import jsonschema
import pytest

from faults import UserFault
from finetune.serving.bases import Base, load_base
from finetune.serving.protocol import GenerateRequest
from finetune.serving.structured import formats, forms, schemas, shapes, unions
from finetune.serving.structured.asked import constraint_of
from finetune.serving.structured.grammar import Grammars
from tests.tiny import build_tiny_base

from .conftest import Answer, Batch, ask

PLACE = "response_format.json_schema.schema"
LIGHT = {
    "type": "object",
    "properties": {"area": {"enum": ["kitchen", "厨房"]}, "level": {"type": "integer"}},
    "required": ["area", "level"],
    "additionalProperties": False,
}


def held(schema: Any, **more: Any) -> GenerateRequest:
    form = {"json_schema": schema, "place": PLACE}
    asked = {"temperature": 1.0, "max_tokens": 400, "seed": 1, "form": form}
    return ask(prompt="turn on", **(asked | more))


def one(value: Any) -> dict[str, Any]:
    """An object with one property."""
    return {"type": "object", "properties": {"a": value}, "required": ["a"]}


DECIMAL = r"^(?!^[-+.]*$)[+-]?0*\d*\.?\d*$"  # as pydantic writes it
OFFERED: dict[str, Any] = {
    "any object": {"type": "object"},
    "closed object": LIGHT,
    "nested": one(one(LIGHT) | {"additionalProperties": False}) | {"additionalProperties": False},
    "values of one type": {"type": "object", "additionalProperties": {"type": "boolean"}},
    "array": {"type": "array", "items": {"type": "boolean"}, "minItems": 2, "maxItems": 3},
    "tuple": {
        "type": "array",
        "prefixItems": [{"type": "boolean"}, {"const": "on"}],
        "items": False,
        "minItems": 2,
    },
    "const": {"const": {"b": [1, None, "x"]}},
    "enum": {"enum": ["a", 1, None, True]},
    "types": {"type": ["boolean", "null"]},
    "either": {"anyOf": [LIGHT, {"type": "null"}]},
    "bounds": {"type": "integer", "minimum": -3, "exclusiveMaximum": 12},
    "fraction": {"type": "number", "minimum": 0, "maximum": 1, "multipleOf": 0.25},
    "no type": {"maximum": 3, "maxLength": 2},
    "length": {"type": "string", "minLength": 2, "maxLength": 4},
    "pattern": {"type": "string", "pattern": "^(ab|厨)+[0-9]{2}$"},
    "one of all": {"allOf": [{"$ref": "#/$defs/l"}], "$defs": {"l": LIGHT}},
    "reference": one({"$ref": "#/definitions/l"}) | {"definitions": {"l": LIGHT}},
    "recursion": {
        "type": "object",
        "properties": {"on": {"type": "boolean"}, "next": {"anyOf": [{"$ref": "#"}, {"const": 0}]}},
        "required": ["on", "next"],
        "additionalProperties": False,
    },
    "names by a pattern": {
        "type": "object",
        "patternProperties": {"^a[0-9]$": {"type": "boolean"}, "^b$": {"const": 1}},
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 2,
    },
    "names beside a pattern": LIGHT
    | {"patternProperties": {"^x": {"const": 1}}}
    | {"minProperties": 3, "maxProperties": 3},
    "counts that are kept anyhow": {
        "type": "object",
        "properties": {"a": {"const": 1}, "b": {"const": 2}},
        "required": ["a"],
        "additionalProperties": False,
        "minProperties": 1,
        "maxProperties": 2,
    },
    "one item is unique": {"type": "array", "maxItems": 1, "uniqueItems": True},
    "a decimal": {"type": "string", "pattern": DECIMAL},
    **{name: {"type": "string", "format": name} for name in sorted(formats.FORMATS)},
}


def test_every_schema_offered_is_honoured_by_a_random_model(batch: Batch) -> None:
    answers = batch(*(held(schema, n=2) for schema in OFFERED.values()))
    whole = 0
    for (name, schema), answer in zip(OFFERED.items(), answers, strict=True):
        assert answer.error is None, (name, answer.error)
        for index in range(2):
            if answer.reason(index) == "length":  # a random model may go on in a text for ever
                continue
            checker = jsonschema.Draft202012Validator.FORMAT_CHECKER
            value = json.loads(answer.text(index))
            jsonschema.Draft202012Validator(schema, format_checker=checker).validate(value)
            whole += 1
    assert whole > len(OFFERED)


def takes(base: Base, schema: Any, text: str) -> bool:
    """Whether a model that is held to `schema` could answer this."""
    constraint = constraint_of(base, held(schema))
    assert constraint is not None
    tokens = base.tokenizer.encode(text, add_special_tokens=False)
    matcher = constraint._matcher
    return bool(matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting())


def test_a_name_is_held_to_its_schema_however_it_could_be_spelt(base: Base) -> None:
    others = {"additionalProperties": {"const": 2}}
    for schema in (
        {"type": "object", "properties": {"a": {"const": 1}}} | others,
        {"type": "object", "patternProperties": {"^a": {"const": 1}}} | others,
    ):
        assert takes(base, schema, '{"a":1,"b":2}')
        assert takes(base, schema, '{"é\\n\\"\\\\":2}')
        assert not takes(base, schema, '{"\\u0061":2}')


def test_who_is_not_held_answers_the_same_beside_those_who_are(batch: Batch) -> None:
    (alone,) = batch(ask())
    beside, other = batch(ask(), held(LIGHT))
    assert beside.ids() == alone.ids()
    assert other.ids() != alone.ids()


def test_an_answer_cut_off_by_its_limit_says_so(batch: Batch) -> None:
    (answer,) = batch(held(LIGHT, max_tokens=3))
    assert answer.reason() == "length"
    with pytest.raises(ValueError):
        json.loads(answer.text())


def test_logprobs_are_the_models_own_and_bias_chooses_among_what_is_allowed(batch: Batch) -> None:
    schema = {"enum": ["x", "y"]}
    wanted = {ord("y") - 33 + 3: 50.0}  # of a byte-level vocabulary behind three special tokens
    (answer,) = batch(held(schema, logprobs=True, logit_bias=wanted))
    assert json.loads(answer.text()) == "y"
    told = [entry.logprob for delta in answer.deltas for entry in delta.logprobs]
    assert len(told) == len(answer.ids())
    assert any(p is not None and p < -1 for p in told)  # not 0, though nothing else was allowed


REFUSED: list[tuple[Any, str]] = [
    ({"not": {"type": []}}, ".not.type"),
    ({"contains": {}}, ".contains"),
    (one({"type": "text"}), ".properties.a.type"),
    (one({"oneOf": [{"type": "integer"}, {"type": "number"}]}), ".properties.a.oneOf.0.type"),
    (one({"oneOf": [{"pattern": "a"}, {"pattern": "b"}]}), ".properties.a.oneOf.1.pattern"),
    ({"type": "object", "propertyNames": {"format": "date", "minLength": 11}}, ".propertyNames"),
    (one({"type": "array", "uniqueItems": True}), ".properties.a.uniqueItems"),
    (one({"type": "string", "format": "date", "maxLength": 9}), ".properties.a.maxLength"),
    (one({"type": "string", "pattern": "^(a|b)+$", "maxLength": 9}), ".properties.a.maxLength"),
    (one({"type": "string", "pattern": "^a+b+$", "maxLength": 9}), ".properties.a.maxLength"),
    (one({"type": "string", "pattern": "a", "format": "date"}), ".properties.a.format"),
    (one({"type": "string", "pattern": "a", "minLength": 1}), ".properties.a.minLength"),
    (one({"type": "string", "format": "colour"}), ".properties.a.format"),
    (one({"type": "string", "pattern": "a" * 513}), ".properties.a.pattern"),
    (one({"pattern": 3}), ".properties.a.pattern"),
    (one({"allOf": []}), ".properties.a.allOf"),
    (one({"anyOf": []}), ".properties.a.anyOf"),
    (one({"anyOf": [3]}), ".properties.a.anyOf.0"),
    (one({"$ref": "#/$defs/x", "enum": [1]}), ".properties.a.$ref"),
    (one({"$ref": "#/required"}), ".properties.a.$ref"),
    (one({"$ref": "#/$defs/x"}), ".properties.a.$ref"),
    (one({"$ref": "https://example.com/s"}), ".properties.a.$ref"),
    (one({"type": "number", "minimum": True}), ".properties.a.minimum"),
    (one({"type": "array", "minItems": 10**9}), ".properties.a.minItems"),
    ({"type": "object", "patternProperties": {"^a": {"not": 1}}}, ".patternProperties.^a.not"),
    ({"type": "object", "patternProperties": []}, ".patternProperties"),
    (one({"type": "object", "minProperties": 2}), ".properties.a.minProperties"),
    ({"properties": {"a": {}}, "maxProperties": 1}, ".maxProperties"),
    ({"properties": {"a": {}}, "minProperties": 2}, ".minProperties"),
    ({"propertyNames": {"const": "a"}, "patternProperties": {"a": {}}}, ".propertyNames"),
    ({"type": "array", "uniqueItems": 1}, ".uniqueItems"),
    ({"type": "object", "required": "a"}, ".required"),
    ({"type": "object", "properties": []}, ".properties"),
    ({"type": "object", "x-guidance": {"lenient": True}}, ".x-guidance"),
    ({"$defs": {"d": {"contains": {}}}}, ".$defs.d.contains"),
    ({"$defs": []}, ".$defs"),
]


@pytest.mark.parametrize(("schema", "place"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_its_place(schema: Any, place: str) -> None:
    with pytest.raises(UserFault) as caught:
        forms.of_schema(schema, PLACE)
    assert caught.value.param == PLACE + place
    assert caught.value.code in ("schema_unsupported", "invalid_schema")


@pytest.mark.parametrize(
    "schema",
    [
        one({"type": "string", "pattern": "(a"}),
        one({"type": "string", "pattern": "(?=a)b"}),
        {"type": "integer", "minimum": 3, "maximum": 2},
        {"patternProperties": {"^a": {"const": 1}, "b$": {"const": 2}}},  # of both, "ab" is neither
        {"$defs": {"a": {"$ref": "#/$defs/a"}}, "$ref": "#/$defs/a"},
    ],
)
def test_what_no_answer_can_be_is_refused(base: Base, schema: Any) -> None:
    with pytest.raises(UserFault) as caught:
        constraint_of(base, held(schema))
    assert caught.value.param == PLACE
    assert caught.value.code in ("invalid_schema", "schema_too_complex")


def chain(length: int) -> dict[str, Any]:
    links = {f"d{i}": one({"$ref": f"#/$defs/d{i + 1}"}) for i in range(length)}
    return {"$defs": links | {f"d{length}": {"type": "null"}}, "$ref": "#/$defs/d0"}


def optional(count: int) -> dict[str, Any]:
    return {"type": "object", "properties": {f"k{i}": {"type": "string"} for i in range(count)}}


def multiples(*values: float) -> dict[str, Any]:
    each = {f"k{i}": {"type": "number", "multipleOf": value} for i, value in enumerate(values)}
    return {"type": "object", "properties": each, "required": [*each]}


@pytest.mark.parametrize(
    ("schema", "codes"),
    [
        ({"enum": ["x" * schemas.MAX_BYTES]}, {"schema_too_large"}),
        (chain(1000), {"schema_too_large"}),  # deep enough to end the process if it were compiled
        (optional(2500), {"schema_too_large"}),
        ({"type": "integer", "multipleOf": 999_983}, {"schema_too_large"}),
        (multiples(0.05003, 500_009, 700_001), {"schema_too_large"}),
    ],
)
def test_hostile_schemas_are_refused_before_they_cost_much(
    base: Base, schema: Any, codes: set[str]
) -> None:
    with pytest.raises(UserFault) as caught:
        constraint_of(base, held(schema))
    assert caught.value.code in codes


def test_unions_that_share_their_options_are_told_apart_once(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    shared = {f"p{i}": {"$ref": "#/$defs/few"} for i in range(9)}
    options = {
        f"o{i}": {"type": "object", "properties": shared | {"z": {"const": i}}} for i in range(9)
    }
    union = {"oneOf": [{"$ref": f"#/$defs/{name}"} for name in options]}
    schema = one(union) | {"additionalProperties": union, "$defs": options}
    schema["$defs"]["few"] = {"enum": ["a", "b"]}
    told = list[Any]()
    read = unions._written

    def counted(value: Any) -> str:
        told.append(value)
        return read(value)

    monkeypatch.setattr(unions, "_written", counted)
    forms.of_schema(schema, PLACE)
    assert len(told) == 2 * (2 + 9)  # by the check, and when it is written


def test_what_is_nested_as_deep_as_allowed_compiles(base: Base) -> None:
    assert constraint_of(base, held(chain(shapes.MAX_DEPTH // 2 - 2))) is not None


def test_hostile_schemas_cost_their_own_answer_alone(batch: Batch) -> None:
    patterns = ["(a|b)*a(a|b){200}", "((a{1,900}){1,900}){1,900}", "(.*[ab].{50}){50}"]
    requests = [held({"type": "string", "pattern": p}, max_tokens=60) for p in patterns]
    plain, wide, *others = batch(ask(), held(optional(1000)), *requests)
    assert plain.error is None
    assert wide.error is not None
    assert (wide.error.code, wide.error.param) == ("schema_too_complex", PLACE)
    for other in others:
        assert other.error is None or other.error.code == "schema_too_complex"


def test_a_grammar_that_takes_too_long_is_given_up(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("finetune.serving.structured.grammar._GRACE", 0.0)
    monkeypatch.setattr("finetune.serving.structured.grammar._EACH", 1e-9)
    with pytest.raises(UserFault) as caught:
        constraint_of(base, held({"enum": ["dear"]}))
    assert caught.value.code == "schema_too_complex"


def test_a_grammar_is_compiled_once_for_its_measure_and_its_answer(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    grammars = Grammars(base.tokenizer, base.model.vocabulary_size, base.stop_ids)
    made: list[str] = []
    compile_ = grammars._compile

    def counted(source: str, place: str) -> tuple[Any, int]:
        made.append(source)
        return compile_(source, place)

    monkeypatch.setattr(grammars, "_compile", counted)
    for schema in (LIGHT, LIGHT, {"type": "null"}, LIGHT):
        grammars.compile(forms.of_schema(schema, PLACE), PLACE, tenant="t")
    assert len(made) == 2


# --- thinking


@pytest.fixture(scope="session")
def thinker(tmp_path_factory: pytest.TempPathFactory) -> Base:
    folder = build_tiny_base(tmp_path_factory.mktemp("thinker"), template="thinking")
    return load_base(folder, "tiny", "fp32")


def reasoning(answer: Answer) -> str:
    return "".join(delta.reasoning for delta in answer.deltas)


def test_the_form_holds_behind_a_thought(thinker: Base) -> None:
    from finetune.serving.structured.gate import Gate
    from finetune.serving.thoughts import ThoughtReader

    constraint = constraint_of(thinker, held(LIGHT))
    assert constraint is not None
    gate = Gate(constraint, ThoughtReader(True), None, thinker.stop_ids)
    import torch

    size = thinker.model.vocabulary_size
    for text in ("hm", "</think>", "\n\n"):
        row = torch.zeros(size)
        gate.mask(row)
        barred = {token for token in range(size) if row[token] == -torch.inf}
        if text == "\n\n":
            assert len(barred) > size // 2
            return
        assert barred == thinker.stop_ids
        for token in thinker.tokenizer.encode(text, add_special_tokens=False):
            gate.accept(token, thinker.tokenizer.decode([token]))


def test_a_model_that_is_not_to_think_answers_in_form_at_once(batch: Batch, thinker: Base) -> None:
    chat = [{"role": "user", "content": "turn on"}]
    form = {"json_schema": LIGHT, "place": PLACE}
    request = ask(messages=chat, form=form, thinking=False, max_tokens=400, temperature=1.0, seed=2)
    (answer,) = batch(request, on=thinker)
    assert answer.reason() == "stop"
    jsonschema.validate(json.loads(answer.text()), LIGHT)
    assert reasoning(answer) == ""
