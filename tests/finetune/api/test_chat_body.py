"""What a chat's body may hold: messages and tools by their fields, told by their place."""

from typing import Any, TypeVar

import pytest
from django.test import RequestFactory
from pydantic import BaseModel

from faults import UserFault
from finetune.api.bodies import parse
from finetune.api.wire.chat_request import ChatRequest
from finetune.api.wire.completion_request import CompletionRequest

Body = TypeVar("Body", bound=BaseModel)

HELLO: list[Any] = [{"role": "user", "content": "Say 3."}]
TOOL: dict[str, Any] = {"function": {"parameters": {"type": "object"}, "name": "f"}}
CALL: dict[str, Any] = {"id": "c", "type": "function", "function": {"name": "f"}}


def posted(model: type[Body], body: Any) -> Body:
    return parse(model, RequestFactory().post("/", body, content_type="application/json"))


def said(*messages: Any, **more: Any) -> dict[str, Any]:
    asked = posted(ChatRequest, {"model": "m", "messages": list(messages) or HELLO} | more)
    asked.check()
    return asked.generation()


def assistant(**fields: Any) -> dict[str, Any]:
    return {"role": "assistant", **fields}


def refused(work: Any) -> str | None:
    with pytest.raises(UserFault) as caught:
        work()
    return caught.value.param


@pytest.mark.parametrize(
    ("message", "param"),
    [
        (assistant(tool_calls="x"), "messages.0.tool_calls"),
        (assistant(tool_calls=[1]), "messages.0.tool_calls.0"),
        (assistant(tool_calls=[{}]), "messages.0.tool_calls.0.function"),
        (assistant(tool_calls=[{"function": []}]), "messages.0.tool_calls.0.function"),
        (assistant(tool_calls=[{"function": {}}]), "messages.0.tool_calls.0.function.name"),
        (assistant(tool_calls=[CALL | {"type": "custom"}]), "messages.0.tool_calls.0.type"),
        (assistant(tool_calls=[CALL | {"id": 3}]), "messages.0.tool_calls.0.id"),
        (assistant(tool_calls=[]), "messages.0.content"),
        (assistant(), "messages.0.content"),
        (assistant(content=3, tool_calls=[CALL]), "messages.0.content"),
        (assistant(content="a", function_call={"name": "f"}), "messages.0.function_call"),
        ({"role": "user", "content": None}, "messages.0.content"),
        ({"role": "user", "content": "a", "name": 1}, "messages.0.name"),
        ({"role": "tool", "content": "a", "tool_call_id": []}, "messages.0.tool_call_id"),
        ({"role": "function", "content": "a"}, "messages.0.role"),
        ({"content": "a"}, "messages.0.role"),
        ({"role": "user", "content": [{"type": "text", "text": 1}]}, "messages.0.content.0"),
        ("hello", "messages.0"),
    ],
)
def test_an_odd_message_is_told_by_its_place(message: Any, param: str) -> None:
    assert refused(lambda: said(message)) == param


@pytest.mark.parametrize(
    ("tool", "param"),
    [
        ({}, "tools.0.type"),
        (1, "tools.0"),
        ({"type": "function"}, "tools.0.function"),
        ({"type": "custom", "custom": {"name": "x"}}, "tools.0.type"),
        ({"type": "function", "function": {}}, "tools.0.function.name"),
        ({"type": "function", "function": {"name": "two words"}}, "tools.0.function.name"),
        ({"type": "function", "function": {"name": "f", "parameters": []}},
         "tools.0.function.parameters"),
        ({"type": "function", "function": {"name": "f", "strict": "yes"}},
         "tools.0.function.strict"),
        ({"type": "function", "function": {"name": "f", "args": {}}}, "tools.0.function.args"),
    ],
)  # fmt: skip
def test_an_odd_tool_is_told_by_its_place(tool: Any, param: str) -> None:
    assert refused(lambda: said(tools=[tool])) == param


def test_what_an_answer_held_may_be_sent_back_whole() -> None:
    answered = assistant(content=None, refusal=None, annotations=[], audio=None, tool_calls=[CALL])
    shown = said(*HELLO, answered | {"function_call": None})["messages"][1]
    assert shown == assistant(content=None, tool_calls=[CALL], reasoning_content=None)


def test_the_model_is_shown_a_tool_as_it_was_given() -> None:
    tool = TOOL | {"type": "function"}
    (shown,) = said(tools=[tool])["tools"]
    assert list(shown) == ["function", "type"]
    assert shown == tool
    assert said(tools=[tool], tool_choice="none")["tools"] is None


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"logit_bias": {"x": 1}}, "logit_bias"),
        ({"logit_bias": {"-1": 1}}, "logit_bias"),
        ({"logit_bias": {"1": 101}}, "logit_bias"),
        ({"presence_penalty": 2.1}, "presence_penalty"),
        ({"frequency_penalty": -3}, "frequency_penalty"),
        ({"top_p": -0.1}, "top_p"),
        ({"max_tokens": 0}, "max_tokens"),
    ],
)
def test_sampling_out_of_its_range_is_refused(given: dict[str, Any], param: str) -> None:
    assert refused(lambda: said(**given)) == param


def test_sampling_is_passed_on() -> None:
    given = {"top_p": 0, "presence_penalty": 1, "frequency_penalty": -1, "logit_bias": {"5": -100}}
    passed = said(**given)
    assert {name: passed[name] for name in given} == given | {"logit_bias": {5: -100}}


def test_no_tokens_are_asked_for_with_an_echo_alone() -> None:
    asked = {"model": "m", "prompt": "x", "max_tokens": 0}
    assert refused(posted(CompletionRequest, asked).check) == "max_tokens"
    echoed = posted(CompletionRequest, asked | {"echo": True})
    echoed.check()
    assert echoed.generation("x")["max_tokens"] == 0


def test_a_choice_of_tools_needs_the_tools() -> None:
    tool = {"type": "function", "function": {"name": "f"}}
    named = {"type": "function", "function": {"name": "g"}}
    assert refused(lambda: said(tool_choice="required")) == "tool_choice"
    assert refused(lambda: said(tool_choice=named)) == "tool_choice"
    assert refused(lambda: said(tool_choice=named, tools=[tool])) == "tool_choice.function.name"
    assert refused(lambda: said(tool_choice="any", tools=[tool])) == "tool_choice"
    passed = said(tool_choice="required", tools=[tool], parallel_tool_calls=False)
    assert (passed["must_call"], passed["parallel_calls"]) == (True, False)
    passed = said(tool_choice=named | {"function": {"name": "f"}}, tools=[tool])
    assert (passed["must_call"], passed["must_call_tool"]) == (True, "f")
