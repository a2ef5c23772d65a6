"""Mistral's calls, as the templates of each generation of its tokenizers write them."""

import json
from typing import Any

import pytest

from finetune.records.encode import RowEncoder
from finetune.serving import mistral
from finetune.serving.detokenize import Detokenizer
from finetune.serving.structured import forms, in_marks
from finetune.serving.structured.grammar import Grammars
from finetune.serving.tools import UnendedCalls, reader_of_marks
from tests.finetune.records.templates import tokenizer

from .test_dialects import offered

TEMPLATES = ["mistral_v3", "mistral_v11", "mistral_v13"]
GIVEN = {"s": 'a "{[" \\', "n": 3, "o": {"a": [1, "}"]}}


def marks_of(name: str) -> mistral.Marks:
    marks = mistral.find(tokenizer(name), RowEncoder(tokenizer(name)).call_form)
    assert marks is not None
    return marks


def reader_of(name: str, *tools: str) -> UnendedCalls:
    reader = reader_of_marks(marks_of(name), offered(*tools))
    assert isinstance(reader, UnendedCalls)
    return reader


@pytest.mark.parametrize("name", TEMPLATES)
def test_calls_are_read_and_allowed_as_the_template_writes_them(name: str) -> None:
    speaker, marks = tokenizer(name), marks_of(name)
    functions = [{"name": "light.on", "arguments": GIVEN}, {"name": "遮", "arguments": {}}]
    called = [{"id": "abcDEF123", "type": "function", "function": each} for each in functions]
    answer = {"role": "assistant", "content": "", "tool_calls": called}
    talk = [{"role": "user", "content": "u"}, answer]
    written = speaker.apply_chat_template(talk, tokenize=False).partition("[/INST]")[2]
    ids = speaker.encode(written, add_special_tokens=False)
    body = [each for each in ids if each != speaker.eos_token_id]
    grammars = Grammars(speaker, len(speaker), frozenset([speaker.eos_token_id]))
    tools = forms.callables(offered("light.on", "遮"), None)
    for forced in (False, True):
        grammar = in_marks.source(marks, tools, None, forced=forced, several=True)
        constraint = grammars.compile(grammar, "tools", tenant="t")
        for each in body if forced else [*speaker.encode("well"), *body]:
            constraint.accept(each)
    text, reader = Detokenizer(speaker, marks.read), reader_of(name, "light.on", "遮")
    gains = [*(reader.push(text.push(each)) for each in body), reader.push(text.flush())]
    assert "".join(said for said, _ in gains) == ""
    found = [call for _, calls in gains for call in calls]
    assert [(call.name, json.loads(call.arguments), call.index) for call in found] == [
        ("light.on", GIVEN, 0),
        ("遮", {}, 1),
    ]
    assert reader.flush() == ("", [])


@pytest.mark.parametrize("name", TEMPLATES)
def test_one_call_alone_is_allowed_where_several_are_not(name: str) -> None:
    speaker, marks = tokenizer(name), marks_of(name)
    tools = forms.callables(offered("none"), None)
    once = in_marks.source(marks, tools, None, forced=True, several=False)
    assert "*" not in once.partition("x-guidance")[0].split("tool_0:")[0]
    constraint = Grammars(speaker, len(speaker), frozenset()).compile(once, "tools", tenant="t")
    constraint.accept(marks.begin)
    assert not constraint.over


@pytest.mark.parametrize("pieces", [1, 3, 1000])
def test_calls_between_words_are_told_from_them_as_they_come(pieces: int) -> None:
    written = (
        'hm [TOOL_CALLS]light[ARGS]{"s": "]}[TOOL_CALLS]"}\n[TOOL_CALLS]light{"n": 1} so '
        '[TOOL_CALLS] [{"name": "light", "arguments": {}}] ok'
    )
    reader, said, calls = reader_of("mistral_v13", "light"), "", list[Any]()
    for at in range(0, len(written), pieces):
        more, found = reader.push(written[at : at + pieces])
        said, calls = said + more, calls + found
    rest, none = reader.flush()
    assert none == []
    assert "".join((said + rest).split()) == "hmsook"
    assert [json.loads(call.arguments) for call in calls] == [{"s": "]}[TOOL_CALLS]"}, {"n": 1}, {}]


@pytest.mark.parametrize(
    "whole",
    [
        "[TOOL_CALLS]unknown[ARGS]{}",
        "[TOOL_CALLS]light[ARGS][1]",
        "[TOOL_CALLS][1, 2]",
        '[TOOL_CALLS]light[ARGS]{"s": ',
        "[TOOL_CALLS]words",
        "[TOOL_CALLS]" + "words " * 100,
        "[TOOL_CALLS]light[ARGS]{nothing}",
        "[TOOL_CAL",
        "]}{",
    ],
)
def test_what_is_no_call_is_shown_as_it_stands(whole: str) -> None:
    reader = reader_of("mistral_v13", "light")
    said, calls = reader.push(whole)
    rest, more = reader.flush()
    assert (said + rest, calls + more) == (whole, [])


def test_a_template_without_such_calls_has_none() -> None:
    assert mistral.find(tokenizer("mistral"), None) is None
    assert mistral.find(tokenizer("qwen3"), None) is None
