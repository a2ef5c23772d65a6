"""In which dialect the chat templates of real models call tools."""

import json
from typing import Any

import pytest

from finetune.records.call_form import CallForm
from finetune.records.encode import RowEncoder
from finetune.serving import deepseek, tagged
from finetune.serving.detokenize import Detokenizer
from finetune.serving.structured import forms, in_marks
from finetune.serving.structured.grammar import Grammars
from finetune.serving.tools import HERMES, dialect, reader_of_marks, reader_of_tags
from tests.finetune.records.templates import source, tokenizer

QWEN = CallForm(HERMES.head, HERMES.middle, f"{HERMES.tail}\n{HERMES.head}", HERMES.tail)
LLAMA = CallForm('{"name": "', '", "parameters": ', None, "}")


@pytest.mark.parametrize(
    ("name", "form"),
    [
        ("qwen2_5", QWEN),
        ("qwen3", QWEN),
        ("llama3_1", LLAMA),
        ("llama3_2", LLAMA),
        ("qwen3_6", None),  # `<function=` and `<parameter=` within `<tool_call>`
        ("glm4moe", None),  # `<arg_key>`
        ("deepseekv3", None),
        ("gptoss", None),
        ("gemma3", None),  # it shows no calls
    ],
)
def test_a_templates_dialect_is_found_by_rendering_calls(name: str, form: CallForm | None) -> None:
    assert dialect(source(name), RowEncoder(tokenizer(name)).call_form) == form


def offered(*names: str) -> list[dict[str, Any]]:
    kinds = {"s": "string", "n": "integer", "o": "object", "l": "array"}
    properties = {name: {"type": kind} for name, kind in kinds.items()} | {"any": {}}
    parameters = {"type": "object", "properties": properties}
    return [
        {"type": "function", "function": {"name": name, "parameters": parameters}} for name in names
    ]


CALLS: list[tuple[str, dict[str, Any]]] = [
    ("light.on", {"s": "3", "n": 3, "o": {"a": [1, "<b>"]}, "l": [], "any": True}),
    ("遮", {"s": "two\nlines, and <b> a tag", "any": "words"}),
    ("none", {}),
]


@pytest.mark.parametrize("name", ["qwen3_6", "glm4moe"])
def test_tags_are_read_as_the_template_writes_them(name: str) -> None:
    functions = [{"name": each, "arguments": arguments} for each, arguments in CALLS]
    called = [{"id": "x", "type": "function", "function": each} for each in functions]
    answer = {"role": "assistant", "content": "", "tool_calls": called}
    talk = [{"role": "user", "content": "u"}, answer]
    rendered = tokenizer(name).apply_chat_template(talk, tokenize=False)
    written = rendered[rendered.rindex("</think>") + len("</think>") :].split("<|im_end|>")[0]
    tags = tagged.find(source(name))
    assert tags is not None
    for width in (1, 7, len(written)):
        reader = reader_of_tags(tags, offered("light.on", "遮", "none"))
        pieces = [written[at : at + width] for at in range(0, len(written), width)]
        gains = [*(reader.push(piece) for piece in pieces), reader.flush()]
        assert "".join(said for said, _ in gains).strip() == ""
        found = [call for _, calls in gains for call in calls]
        assert [(call.name, json.loads(call.arguments)) for call in found] == CALLS
        assert [call.index for call in found] == [0, 1, 2]


def test_an_argument_is_always_json() -> None:
    tags = tagged.find(source("glm4moe"))
    assert tags is not None
    values = "".join(
        f"<arg_key>{name}</arg_key><arg_value>{value}</arg_value>"
        for name, value in {"any": "NaN", "n": "1e999", "o": "{not json", "l": "[" * 9999}.items()
    )
    _, (call,) = reader_of_tags(tags, offered("f")).push(f"<tool_call>f{values}</tool_call>")
    read = json.loads(call.arguments)
    assert (read["any"], read["o"], read["l"]) == ("NaN", "{not json", "[" * 9999)
    assert 1e308 < read["n"] < float("inf")


@pytest.mark.parametrize(
    ("name", "body"),
    [
        ("qwen3_6", "<function=unknown>\n</function>"),
        ("qwen3_6", "<function=light>\nwords\n</function>"),
        ("qwen3_6", "words"),
        ("glm4moe", "light\n<arg_key>s</arg_key>\nwords"),
        ("glm4moe", "unknown"),
        ("glm4moe", ""),
    ],
)
def test_tags_that_are_no_call_are_shown_as_they_stand(name: str, body: str) -> None:
    tags = tagged.find(source(name))
    assert tags is not None
    reader = reader_of_tags(tags, offered("light"))
    whole = f"<tool_call>{body}</tool_call>"
    assert reader.push(whole) == (whole, [])


@pytest.mark.parametrize("name", ["deepseekv3", "deepseek_v3_1"])
def test_calls_between_control_tokens_are_read_as_they_come(name: str) -> None:
    speaker = tokenizer(name)
    marks = deepseek.find(speaker)
    assert marks is not None
    given = {"s": "two\nlines", "n": 3}
    as_text: Any = json.dumps(given) if name == "deepseekv3" else given
    functions = [{"name": each, "arguments": as_text} for each in ("light.on", "none")]
    called = [{"id": "x", "type": "function", "function": each} for each in functions]
    answer = {"role": "assistant", "content": "well", "tool_calls": called}
    talk = [{"role": "user", "content": "u"}, answer]
    written = speaker.apply_chat_template(talk, tokenize=False).partition("<｜Assistant｜>")[2]
    ids = speaker.encode(written.replace("</think>", ""), add_special_tokens=False)
    text = Detokenizer(speaker, marks.read)
    reader = reader_of_marks(marks, offered("light.on", "none"))
    grammars = Grammars(speaker, len(speaker), frozenset())
    tools = forms.callables(offered("light.on", "none"), None)
    for forced in (False, True):  # the same is allowed, behind words or alone
        grammar = in_marks.source(marks, tools, None, forced=forced, several=True)
        constraint = grammars.compile(grammar, "tools", tenant=f"t{forced}")
        begun = ids.index(marks.opening) if forced else 0
        for each in ids[begun : ids.index(marks.closing) + 1]:
            constraint.accept(each)
        assert constraint.over
    gains = [*(reader.push(text.push(each)) for each in ids), reader.push(text.flush())]
    gains.append(reader.flush())
    assert "".join(said for said, _ in gains) == "well"
    found = [call for _, calls in gains for call in calls]
    assert [(call.name, json.loads(call.arguments)) for call in found] == [
        ("light.on", given),
        ("none", given),
    ]


@pytest.mark.parametrize("inside", ["unknown<｜tool▁sep｜>{}", "light<｜tool▁sep｜>[1]", "words"])
def test_marks_around_no_call_are_shown_as_they_stand(inside: str) -> None:
    whole = f"{deepseek.BEGIN}{inside}{deepseek.END}"
    marks = deepseek.find(tokenizer("deepseekv3"))
    assert marks is not None
    assert reader_of_marks(marks, offered("light")).push(whole) == (whole, [])
