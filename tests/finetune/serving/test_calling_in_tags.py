"""Tools called on demand where the template writes calls in tags: Qwen3-Coder's and GLM-4.5's."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import jsonschema
import pytest
from llguidance import LLMatcher, LLTokenizer

from faults import UserFault
from finetune.serving import tagged
from finetune.serving.bases import Base, load_base
from finetune.serving.structured import forms, in_tags
from finetune.serving.structured.asked import constraint_of
from finetune.serving.tools import reader_of_tags
from tests.finetune.records.templates import source, tokenizer
from tests.tiny import build_tiny_base

from .conftest import Batch
from .test_calling import SCHEMAS, TOOLS, asked, calls, tool

NAMES = ["qwen3_6", "glm4moe"]
Accepts = Callable[[dict[str, Any]], bool]

# GLM's next turn ends the one before, with a token that the tiny tokenizer lacks
ENDED = "{% if not add_generation_prompt %}<|im_end|>{% endif %}"

PROPERTIES: dict[str, Any] = {
    "text": {"type": "string", "title": "Text"},
    "count": {"type": "integer", "maximum": 9},
    "listed": {"enum": ["a b", "厨/房", "3", None]},
    "maybe": {"anyOf": [{"type": "string"}, {"type": "null"}]},
    "either": {"anyOf": [{"type": "integer", "maximum": 9}, {"type": "string"}]},
    "day": {"type": "string", "format": "date"},
    "code": {"type": "string", "pattern": "^[A-Z]{2}/x$"},
    "part": {"type": "string", "pattern": "b+"},
    "short": {"type": ["string"], "minLength": 1, "maxLength": 5},
    "of": {"$ref": "#/$defs/Of"},
    "link": {"type": "string", "format": "uri", "maxLength": 30},
    "open": {},
}
OF = {"type": "object", "properties": {"k": {"type": "boolean"}}, "required": ["k"]}
PARAMETERS = {
    "type": "object",
    "properties": PROPERTIES,
    "required": ["text", "count"],
    "additionalProperties": False,
    "$defs": {"Of": {**OF, "additionalProperties": False}},
}
WHOLE: dict[str, Any] = {
    "text": "two\nlines, and <b> a tag\n",
    "count": 3,
    "listed": "3",
    "maybe": None,
    "either": 5,
    "day": "2024-02-29",
    "code": "AB/x",
    "part": "a bb c",
    "short": "ab\nc",
    "of": {"k": True},
    "link": "https://a.b/c?d=1",
    "open": "words",
}


def rendered(name: str, function: str, arguments: dict[str, Any]) -> str:
    """A call in the words of the real template."""
    call = {"id": "x", "type": "function", "function": {"name": function, "arguments": arguments}}
    answer = {"role": "assistant", "content": "", "tool_calls": [call]}
    talk = [{"role": "user", "content": "u"}, answer]
    whole: str = tokenizer(name).apply_chat_template(talk, tokenize=False)
    return whole[whole.rindex("</think>") + len("</think>") :].partition("<|im_end|>")[0].strip()


def accepting(name: str, tools: list[dict[str, Any]], function: str) -> Accepts:
    """Whether the grammar of one forced call takes the template's rendering of it."""
    tags = tagged.find(source(name))
    assert tags is not None
    rules = in_tags.rules(tags.written, forms.callables(tools, None))
    grammar = forms.of_calls(tagged.AROUND, rules, several=False)
    bytes_of = LLTokenizer("byte")

    def accepts(arguments: dict[str, Any]) -> bool:
        matcher = LLMatcher(bytes_of, grammar, log_level=0)
        assert not matcher.is_error(), matcher.get_error()
        tokens = bytes_of.tokenize_str(rendered(name, function, arguments))
        return matcher.try_consume_tokens(tokens) == len(tokens) and matcher.is_accepting()

    return accepts


@pytest.mark.parametrize("name", NAMES)
def test_what_the_template_writes_is_what_is_allowed_and_is_read_back(name: str) -> None:
    tools = [tool("f", PARAMETERS, strict=True)]
    accepts, tags = accepting(name, tools, "f"), tagged.find(source(name))
    assert tags is not None
    changes: list[dict[str, Any]] = [
        {},
        {"maybe": "Paris"},
        {"maybe": ""},
        {"maybe": "3"},
        {"either": "words"},
        {"listed": None},
        {"open": {"a": 1}},
        {"text": ""},
    ]
    for change in changes:
        given = {**WHOLE, **change}
        assert accepts(given), change
        _, (call,) = reader_of_tags(tags, tools).push(rendered(name, "f", given))
        assert (call.name, json.loads(call.arguments)) == ("f", given)
    assert accepts({"text": "t", "count": 0})


@pytest.mark.parametrize("name", NAMES)
def test_what_the_schema_forbids_is_not_allowed(name: str) -> None:
    accepts = accepting(name, [tool("f", PARAMETERS, strict=True)], "f")
    wrong: list[dict[str, Any]] = [
        {"count": 10},
        {"count": "words"},
        {"either": 10},
        {"listed": "c"},
        {"day": "2023-02-29"},
        {"code": "AB/xy"},
        {"part": "a"},
        {"short": "too long"},
        {"short": ""},
        {"of": {}},
        {"link": "https://a.b/" + "c" * 30},
        {"text": "</tool_call>"},
        {"text": "a</parameter></arg_value>b"},
        {"other": 1},
    ]
    for change in wrong:
        assert not accepts({**WHOLE, **change}), change
    assert not accepts({"text": "without a count"})


@pytest.mark.parametrize("name", NAMES)
def test_arguments_of_any_name_are_what_their_schema_says(name: str) -> None:
    counts = {"type": "object", "additionalProperties": {"type": "integer"}}
    accepts = accepting(name, [tool("f", counts, strict=True)], "f")
    assert accepts({})
    assert accepts({"a": 1, "b": 2})
    assert not accepts({"a": "words"})
    loose = accepting(name, [tool("f", {"type": "object", "not": {}})], "f")
    assert loose({"a": "words", "b": [1]})  # nobody promised more


@pytest.mark.parametrize(
    ("parameters", "place"),
    [
        ({"properties": {"a>": {"type": "string"}}}, "properties.a>"),
        ({"properties": {"a": {"type": "string", "pattern": "^a|b$"}}}, "properties.a.pattern"),
        ({"properties": {"a": {"enum": ["</tool_call>"]}}}, "properties.a.enum"),
        ({"properties": {"a": {"type": "array", "items": {"$ref": "#"}}}}, "properties.a"),
        ({"properties": {"a": {"type": "string", "anyOf": [{}]}}}, "properties.a.anyOf"),
        ({"patternProperties": {"^a$": {}}}, "patternProperties"),
    ],
)
def test_a_strict_schema_that_tags_cannot_keep_is_refused_by_its_place(
    parameters: dict[str, Any], place: str
) -> None:
    tools = [tool("f", {"type": "object", **parameters}, strict=True)]
    with pytest.raises(UserFault) as caught:
        in_tags.rules(tagged.QWEN.written, forms.callables(tools, None))
    param = f"tools.0.function.parameters.{place}"
    assert (caught.value.code, caught.value.param) == ("schema_unsupported", param)


def test_unions_of_unions_are_read_once() -> None:
    def union(number: int) -> dict[str, Any]:
        return {"anyOf": [{"$ref": f"#/$defs/{number + 1}"}] * 40 + [{"type": "integer"}]}

    several = {str(number): union(number) for number in range(10)}
    deep = {"properties": {"a": union(-1)}, "$defs": {**several, "10": {"type": "string"}}}
    read = tagged.reading(tagged.GLM, [tool("f", deep)])
    body = "f<arg_key>a</arg_key><arg_value>WORD</arg_value>"
    assert read(body.replace("WORD", "1")) == ("f", {"a": 1})
    assert read(body.replace("WORD", "[1]")) == ("f", {"a": "[1]"})


@pytest.fixture(scope="module")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    def build(name: str) -> Base:
        folder: Path = build_tiny_base(tmp_path_factory.mktemp(name))
        (folder / "chat_template.jinja").write_text(source(name) + ENDED)
        config = json.loads((folder / "config.json").read_text())
        config["max_position_embeddings"] = 4096  # the templates tell at length how to call
        (folder / "config.json").write_text(json.dumps(config))
        return load_base(folder, name, "fp32")

    return {name: build(name) for name in NAMES}


@pytest.mark.parametrize("name", NAMES)
def test_a_model_is_held_to_calls_of_the_tools(
    batch: Batch, speakers: dict[str, Base], name: str
) -> None:
    base, off = speakers[name], {"thinking": False}
    strict = [tool(each, schema, strict=True) for each, schema in SCHEMAS.items()]
    answers = batch(
        asked(must_call=True, parallel_calls=False, n=3, tools=strict, **off),
        asked(must_call=True, callable_tools=["遮"], **off),
        asked(must_call=True, must_call_tool="遮", **off),
        on=base,
    )
    for answer, count in zip(answers, (3, 1, 1), strict=True):
        for index in range(count):
            found = calls(answer, index)
            assert found
            for call in found:
                jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
            assert count == 1 or len(found) == 1
            assert answer.text(index) == "" or answer.reason(index) == "length"
    assert {call.name for answer in answers[1:] for call in calls(answer)} == {"遮"}


@pytest.mark.parametrize("name", NAMES)
def test_a_client_that_always_says_strict_is_answered(
    batch: Batch, speakers: dict[str, Base], name: str
) -> None:
    base, off = speakers[name], {"thinking": False, "max_tokens": 8}
    strict = [tool(each, schema, strict=True) for each, schema in SCHEMAS.items()]
    form = {"json_schema": {"const": 7}, "place": "response_format"}
    ways: list[dict[str, Any]] = [
        {"tools": strict},
        {"callable_tools": ["遮"]},
        {"parallel_calls": False},
        {"form": form},
    ]
    for answer in batch(*(asked(**off, **way) for way in ways), on=base):
        assert answer.error is None
        assert answer.text() or calls(answer) or answer.reason() == "length"
    constraint = constraint_of(base, asked(tools=strict, callable_tools=["遮"]))
    assert constraint is not None
    opened = tagged.find(source(name))
    assert opened is not None
    begun = f"well <tool_call>{opened.written.before}"
    for token in base.tokenizer.encode(begun, add_special_tokens=False):
        constraint.accept(token)
    with pytest.raises(UserFault):  # once the mark stands, no other can follow
        constraint.accept_text("light")
    assert constraint_of(base, asked(tools=TOOLS)) is None
