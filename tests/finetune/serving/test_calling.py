"""Tools called on demand: what the caller forces or makes strict, in each dialect of templates."""

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest

from faults import UserFault
from finetune.serving.bases import Base, load_base
from finetune.serving.protocol import GenerateRequest, ToolCall
from finetune.serving.structured.asked import constraint_of
from tests.tiny import build_tiny_base

from .conftest import Answer, Batch, ask

_TURN = (
    "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}CALLS<|im_end|>\n{% endfor %}"
    "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
)
_EACH = "{% for c in m.tool_calls or [] %}CALL{% endfor %}"
_NAMED = '{"name": "{{ c.function.name }}", "ARGUMENTS": {{ c.function.arguments | tojson }}}'
_HERMES = "{% if not loop.first %}\n{% endif %}<tool_call>\n" + _NAMED + "\n</tool_call>"
_SINGLE = (
    "{% if m.tool_calls and m.tool_calls | length > 1 %}{{ raise_exception('one') }}{% endif %}"
)


def written(call: str, before: str = "") -> str:
    return _TURN.replace("CALLS", before + _EACH.replace("CALL", call))


DIALECTS = {
    "hermes": written(_HERMES.replace("ARGUMENTS", "arguments")),
    "llama": written(_NAMED.replace("ARGUMENTS", "parameters"), _SINGLE),
    "tags": written("<call>{{ c.function | tojson }}</call>"),
}

AREA = {
    "type": "object",
    "properties": {
        "area": {"enum": ["kitchen", "厨房"]},
        "level": {"type": "integer", "maximum": 99},
    },
    "required": ["area", "level"],
    "additionalProperties": False,
}
SHADE = {"type": "object", "properties": {"s": {"$ref": "#/$defs/s"}}, "required": ["s"],
         "additionalProperties": False, "$defs": {"s": {"type": "boolean"}}}  # fmt: skip


def tool(name: str, parameters: Any, **more: Any) -> dict[str, Any]:
    return {"type": "function", "function": {"name": name, "parameters": parameters, **more}}


TOOLS = [tool("light.on", AREA), tool("遮", SHADE)]
SCHEMAS = {"light.on": AREA, "遮": SHADE}


@pytest.fixture(scope="session")
def speakers(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Base]:
    def build(name: str, template: str) -> Base:
        folder: Path = build_tiny_base(tmp_path_factory.mktemp(name))
        (folder / "chat_template.jinja").write_text(template)
        return load_base(folder, name, "fp32")

    return {name: build(name, template) for name, template in DIALECTS.items()}


def asked(**fields: Any) -> GenerateRequest:
    chat = [{"role": "user", "content": "turn on the light"}]
    given = {"messages": chat, "tools": TOOLS, "temperature": 1.0, "max_tokens": 400, "seed": 3}
    return ask(**(given | fields))


def calls(answer: Answer, index: int = 0) -> list[ToolCall]:
    assert answer.error is None, answer.error
    return [c for delta in answer.deltas if delta.index == index for c in delta.tool_calls]


@pytest.mark.parametrize("name", DIALECTS)
def test_a_call_is_written_as_the_template_writes_it_and_read_back(
    batch: Batch, speakers: dict[str, Base], name: str
) -> None:
    base = speakers[name]
    answers = batch(
        asked(must_call=True, parallel_calls=False, n=3),
        asked(must_call=True, must_call_tool="遮"),
        on=base,
    )
    names = set()
    for answer, count in zip(answers, (3, 1), strict=True):
        for index in range(count):
            (call,) = calls(answer, index)
            assert answer.reason(index) == "tool_calls"
            assert answer.text(index) == ""
            jsonschema.validate(json.loads(call.arguments), SCHEMAS[call.name])
            names.add(call.name)
            said = base.tokenizer.decode(answer.ids(index), skip_special_tokens=True)
            arguments = json.loads(call.arguments)
            function = {"name": call.name, "arguments": arguments}
            shown = {"role": "assistant", "content": "", "tool_calls": [{"function": function}]}
            talk = [{"role": "user", "content": "u"}, shown]
            rendered = base.tokenizer.apply_chat_template(talk, tokenize=False)
            start = said[: said.index(call.name)]
            assert f"assistant\n{start}" in rendered  # to the letter, up to the arguments
    assert names == set(SCHEMAS)


def test_several_calls_are_one_after_the_other(batch: Batch, speakers: dict[str, Base]) -> None:
    several = []
    for answer in batch(
        *(asked(must_call=True, seed=seed, n=4) for seed in range(3)), on=speakers["tags"]
    ):
        for index in range(4):
            found = calls(answer, index)
            if answer.reason(index) == "tool_calls":
                assert [call.index for call in found] == list(range(len(found)))
                several.append(len(found))
    assert max(several) > 1


@pytest.mark.parametrize("name", DIALECTS)
def test_a_strict_tools_arguments_are_kept_to_where_the_model_may_also_talk(
    batch: Batch, speakers: dict[str, Base], name: str
) -> None:
    base = speakers[name]
    strict = [tool("on", AREA, strict=True)]
    form = base.calls
    assert form is not None
    (talk,) = batch(asked(tools=strict, max_tokens=20), on=base)
    assert talk.error is None
    constraint = constraint_of(base, asked(tools=strict))
    assert constraint is not None
    # once the marker stands, only a call of the tool can follow
    import torch

    begun = ("well " if form.opening else "") + form.head
    for token in base.tokenizer.encode(begun, add_special_tokens=False):
        constraint.accept(token)
    row = torch.zeros(base.model.vocabulary_size)
    constraint.mask(row)
    allowed = {base.tokenizer.decode([t]) for t in range(len(row)) if row[t] == 0}
    assert allowed <= {"o", "on"}


def test_an_answer_in_a_form_may_be_a_call_instead(batch: Batch, speakers: dict[str, Base]) -> None:
    form = {"json_schema": {"const": 7}, "place": "response_format"}
    answers = batch(*(asked(form=form, seed=seed) for seed in range(12)), on=speakers["hermes"])
    whole = [answer for answer in answers if answer.reason() != "length"]
    assert {answer.reason() for answer in whole} == {"stop", "tool_calls"}
    assert all(calls(answer) or answer.text() == "7" for answer in whole)


def test_who_forces_nothing_is_held_to_nothing(speakers: dict[str, Base]) -> None:
    assert constraint_of(speakers["hermes"], asked()) is None


def test_a_strict_tools_schema_is_refused_by_its_place_and_another_is_any_object(
    batch: Batch, speakers: dict[str, Base]
) -> None:
    odd = {"type": "object", "unevaluatedProperties": False}
    with pytest.raises(UserFault) as caught:
        constraint_of(speakers["hermes"], asked(tools=[*TOOLS, tool("f", odd, strict=True)]))
    assert caught.value.param == "tools.2.function.parameters.unevaluatedProperties"
    (answer,) = batch(
        asked(tools=[tool("f", odd)], must_call=True, parallel_calls=False, n=4),
        on=speakers["llama"],
    )
    whole = [i for i in range(4) if answer.reason(i) == "tool_calls"]
    assert all(isinstance(json.loads(calls(answer, i)[0].arguments), dict) for i in whole)


def test_a_template_without_calls_cannot_be_made_to_call(tmp_path: Path) -> None:
    folder = build_tiny_base(tmp_path / "b", template="thinking")
    (folder / "chat_template.jinja").write_text(_TURN.replace("CALLS", ""))
    base = load_base(folder, "mute", "fp32")
    with pytest.raises(UserFault) as caught:
        constraint_of(base, asked(must_call=True))
    assert (caught.value.code, caught.value.param) == ("calls_unsupported", "tool_choice")
    ways: list[dict[str, Any]] = [
        {"tools": [tool("f", AREA, strict=True)]},
        {"callable_tools": ["遮"]},
        {"parallel_calls": False},
    ]
    for way in ways:  # it calls none, which keeps to each of them
        assert constraint_of(base, asked(**way)) is None


def test_only_the_tools_that_may_be_called_are(batch: Batch, speakers: dict[str, Base]) -> None:
    only = {"callable_tools": ["遮"], "parallel_calls": True}
    (forced,) = batch(asked(must_call=True, n=4, **only), on=speakers["hermes"])
    names = {call.name for index in range(4) for call in calls(forced, index)}
    assert names == {"遮"}
    constraint = constraint_of(speakers["hermes"], asked(**only))
    assert constraint is not None  # also where the model may talk
    for token in speakers["hermes"].tokenizer.encode('<tool_call>\n{"name": "'):
        constraint.accept(token)
    for token in speakers["hermes"].tokenizer.encode("light", add_special_tokens=False)[:1]:
        with pytest.raises(UserFault):
            constraint.accept(token)
