"""gpt-oss' answers in parts: thought, what is said, and calls."""

import json

import pytest

from finetune.serving import harmony
from finetune.serving.detokenize import Detokenizer
from finetune.serving.structured import forms, in_marks
from finetune.serving.structured.grammar import Grammars
from finetune.serving.tools import reader_of_marks
from tests.finetune.records.templates import tokenizer

from .test_dialects import offered

THOUGHT = "<|channel|>analysis<|message|>hm<|end|><|start|>assistant"
FINAL = "<|channel|>final<|message|>"
STOCK = ' to=functions.light.on<|channel|>commentary json<|message|>{"n": 3}'
TAUGHT = '<|channel|>commentary to=functions.light.on <|constrain|>json<|message|>{"n": 3}'


def marks() -> harmony.Marks:
    found = harmony.find(tokenizer("gptoss"))
    assert found is not None
    return found


def read(written: str, width: int = 1) -> tuple[str, str, list[tuple[str, object]]]:
    """What is said, thought and called."""
    parts, calls = harmony.PartReader(), reader_of_marks(marks(), offered("light.on"))
    gains = [parts.push(written[at : at + width]) for at in range(0, len(written), width)]
    gains.append(parts.flush())
    heard = [calls.push(said) for said, _ in gains] + [calls.flush()]
    said, thought = "".join(text for text, _ in heard), "".join(each for _, each in gains)
    found = [call for _, calls in heard for call in calls]
    return said, thought, [(call.name, json.loads(call.arguments)) for call in found]


@pytest.mark.parametrize("width", [1, 5, 1000])
@pytest.mark.parametrize(
    ("written", "heard"),
    [
        (f"{THOUGHT}{FINAL}it is on", ("it is on", "hm", [])),
        (f"{FINAL}it <b> is on<|return|>", ("it <b> is on", "", [])),
        (f"{THOUGHT}{STOCK}", ("", "hm", [("light.on", {"n": 3})])),
        (f"{THOUGHT}{TAUGHT}", ("", "hm", [("light.on", {"n": 3})])),
        (f"{TAUGHT}<|call|>", ("", "", [("light.on", {"n": 3})])),
        (
            f"<|channel|>commentary<|message|>I look.<|end|><|start|>assistant{STOCK}",
            ("I look.", "", [("light.on", {"n": 3})]),
        ),
        (f"{THOUGHT}<|channel|>fin", ("", "hm", [])),
        ("<|channel|>analysis<|message|>h", ("", "h", [])),
        ("to be honest", ("to be honest", "", [])),
        ("to", ("to", "", [])),
        (
            "<|channel|>commentary to=functions.other json<|message|>{}",
            ("<|start|><|channel|>commentary to=functions.other json<|message|>{}<|call|>", "", []),
        ),
        (STOCK[:-1], (f"<|start|>{STOCK[:-1]}", "", [])),
    ],
)
def test_parts_are_told_apart_as_they_come(
    written: str, heard: tuple[str, str, list[tuple[str, object]]], width: int
) -> None:
    assert read(written, width) == heard


def test_a_call_is_allowed_and_read_as_the_template_writes_it() -> None:
    speaker = tokenizer("gptoss")
    call = {"id": "x", "type": "function"}
    call["function"] = {"name": "light.on", "arguments": {"n": 3}}  # type: ignore[assignment]
    answer = {"role": "assistant", "thinking": "hm", "content": "", "tool_calls": [call]}
    talk = [{"role": "user", "content": "u"}, answer]
    rendered = speaker.apply_chat_template(talk, tokenize=False)
    prompt = speaker.apply_chat_template(talk[:1], tokenize=False, add_generation_prompt=True)
    written = rendered.removeprefix(prompt)
    ids = speaker.encode(written, add_special_tokens=False)
    assert ids[-1] == marks().call
    text = Detokenizer(speaker, marks().read)
    shown = "".join([*(text.push(each) for each in ids[:-1]), text.flush()])
    assert read(shown) == ("", "hm", [("light.on", {"n": 3})])
    tools = forms.callables(offered("light.on"), None)
    for forced in (False, True):
        grammar = in_marks.source(marks(), tools, None, forced=forced, several=False)
        grammars = Grammars(speaker, len(speaker), marks().ends)
        constraint = grammars.compile(grammar, "tools", tenant="t")
        for each in ids[:-1]:
            constraint.accept(each)
        assert constraint.over


def test_a_template_without_parts_has_none() -> None:
    assert harmony.find(tokenizer("deepseekv3")) is None
