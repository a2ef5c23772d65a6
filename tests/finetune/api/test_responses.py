"""/v1/responses, by the unmodified openai client: what it makes of our events, and an answer."""

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Literal

import httpx
import pytest
from openai import BadRequestError, OpenAI
from pydantic import BaseModel, Field

from faults import UserFault
from finetune.api.json_bodies import fit
from finetune.api.wire.event_streams import Dialect, stream
from finetune.api.wire.response_events import Telling, event_line
from finetune.api.wire.response_request import ResponseRequest
from finetune.api.wire.responses import blank
from finetune.serving.protocol import Delta, ToolCall, Usage
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, strict

TOOL: Any = {"type": "function", "name": "light", "parameters": {"type": "object"}, "strict": None}
END = Delta(usage=Usage(prompt_tokens=3, completion_tokens=4))
CALL = ToolCall(index=0, id="call_1", name="light", arguments='{"on": true}')


def asked(**fields: Any) -> ResponseRequest:
    return fit(ResponseRequest, {"model": "m", "input": "x"} | fields)


def read(*deltas: Delta | Exception) -> httpx.MockTransport:
    """A server that answers with the events of these deltas."""

    async def given() -> AsyncIterator[Delta]:
        for each in deltas:
            if isinstance(each, Exception):
                raise each
            yield each

    async def begun() -> AsyncIterator[Delta]:
        return given()

    async def body() -> bytes:
        telling = Telling(blank(asked(), "m"), logprobs=False)
        dialect = Dialect(line=event_line, end=b"", error=telling.error)
        response: Any = await stream(begun(), telling.events, dialect)
        return b"".join([line async for line in response])

    content = asyncio.run(body())
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    return httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=content))


def client_of(transport: httpx.MockTransport) -> OpenAI:
    http = httpx.Client(transport=transport)
    return OpenAI(api_key="k", base_url="http://x/v1", http_client=http, max_retries=0)


def test_the_packages_own_stream_puts_the_answer_together() -> None:
    deltas = [
        Delta(reasoning="hm"),
        Delta(text="It is "),
        Delta(text="é."),
        Delta(tool_calls=[CALL], finish_reason="tool_calls"),
        END,
    ]
    with client_of(read(*deltas)).responses.stream(model="m", input="x") as streaming:
        events = list(streaming)
        final = streaming.get_final_response()
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert [event.type for event in events if "delta" in event.type] == [
        "response.reasoning_text.delta",
        "response.output_text.delta",
        "response.output_text.delta",
        "response.function_call_arguments.delta",
    ]
    assert [item.type for item in final.output] == ["reasoning", "message", "function_call"]
    assert (final.status, final.output_text) == ("completed", "It is é.")
    call: Any = final.output[2]
    assert (call.call_id, call.name, call.arguments) == ("call_1", "light", '{"on": true}')
    assert final.usage is not None
    assert final.usage.total_tokens == 7
    for event in client_of(read(*deltas)).responses.create(model="m", input="x", stream=True):
        strict(event)


def test_an_answer_that_was_cut_is_incomplete() -> None:
    transport = read(Delta(text="It"), Delta(finish_reason="length"), END)
    *_, last = client_of(transport).responses.create(model="m", input="x", stream=True)
    assert last.type == "response.incomplete"
    assert last.response.incomplete_details is not None
    assert last.response.incomplete_details.reason == "max_output_tokens"


def test_an_error_in_the_middle_is_an_error_event() -> None:
    fault = UserFault("model_evicted", "It is gone.", param="model")
    transport = read(Delta(text="It"), fault)
    *before, last = client_of(transport).responses.create(model="m", input="x", stream=True)
    strict(last)
    assert last.type == "error"
    assert (last.code, last.message, last.sequence_number) == (
        "model_evicted",
        "It is gone.",
        len(before),
    )


def test_items_become_the_messages_of_a_chat() -> None:
    given = [
        {"role": "user", "content": [{"type": "input_text", "text": "on"}]},
        {"type": "reasoning", "summary": [], "content": [{"type": "reasoning_text", "text": "hm"}]},
        {
            "type": "message",
            "role": "assistant",
            "content": [{"type": "output_text", "text": "ok"}],
        },
        {"type": "function_call", "call_id": "a", "name": "light", "arguments": "{}"},
        {"type": "function_call", "call_id": "b", "name": "light", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "a", "output": "done"},
        {"role": "user", "content": "thanks"},
    ]
    made = asked(input=given, instructions="Be brief.", tools=[TOOL]).chat().generation()
    shown = made["messages"]
    assert [each["role"] for each in shown] == ["system", "user", "assistant", "tool", "user"]
    assert (shown[2]["reasoning_content"], shown[2]["content"]) == ("hm", "ok")
    assert [call["id"] for call in shown[2]["tool_calls"]] == ["a", "b"]
    assert (shown[3]["tool_call_id"], shown[3]["content"]) == ("a", "done")
    assert made["tools"][0]["function"] == {"name": "light", "parameters": {"type": "object"}}


def test_a_call_can_be_asked_for_by_name_and_for_one_at_a_time() -> None:
    named = {"type": "function", "name": "light"}
    asked(tools=[TOOL], tool_choice=named, parallel_tool_calls=False).chat()
    with pytest.raises(UserFault) as other:
        asked(tools=[TOOL], tool_choice={"type": "function", "name": "fan"}).chat()
    assert other.value.param == "tool_choice.name"
    with pytest.raises(UserFault):
        asked(tool_choice="required").chat()


def test_the_tools_that_may_be_called_and_how_long_is_thought_stand_flat() -> None:
    named = {"type": "function", "name": "light"}
    given = asked(
        tools=[TOOL, {**TOOL, "name": "fan"}],
        tool_choice={"type": "allowed_tools", "mode": "required", "tools": [named]},
        reasoning={"effort": "low"},
        include=["reasoning.encrypted_content"],
    )
    assert not given.logprobs
    made = given.chat().generation()
    assert (made["must_call"], made["callable_tools"]) == (True, ["light"])
    assert [tool["function"]["name"] for tool in made["tools"]] == ["light", "fan"]
    assert (made["thinking"], made["thinking_place"]) == (True, "reasoning_effort")
    assert asked(reasoning={"effort": "none"}).chat().generation()["thinking"] is False


FAN = {"type": "function", "name": "fan"}
REFUSED: list[tuple[dict[str, Any], str]] = [
    ({"previous_response_id": "resp_1"}, "previous_response_id"),
    ({"conversation": "conv_1"}, "conversation"),
    ({"input": [{"type": "item_reference", "id": "msg_1"}]}, "input.0"),
    ({"store": True}, "store"),
    ({"background": True}, "background"),
    ({"reasoning": {"effort": "much"}}, "reasoning.effort"),
    ({"truncation": "auto"}, "truncation"),
    (
        {"tool_choice": {"type": "allowed_tools", "mode": "auto", "tools": [FAN]}, "tools": [TOOL]},
        "tool_choice.tools.0.name",
    ),
    ({"top_k": 5}, "top_k"),
    ({"input": []}, "input"),
    ({"input": [{"role": "user", "content": 5}]}, "input.0.content"),
    ({"input": [{"type": "reasoning", "content": 5}]}, "input.0.content"),
    ({"input": [{"role": "boss", "content": "x"}], "instructions": "y"}, "input.0.role"),
    ({"input": [{"role": "user", "content": [{"type": "input_image"}]}]}, "input.0.content.0"),
    ({"input": [{"type": "computer_call"}]}, "input.0"),
    ({"input": [{"type": "function_call", "call_id": "a"}]}, "input.0.name"),
    ({"tools": [{"type": "web_search"}]}, "tools.0.type"),
    ({"tools": [{"type": "function", "name": "two words"}]}, "tools.0.name"),
    ({"max_output_tokens": 0}, "max_output_tokens"),
    ({"temperature": 3}, "temperature"),
    ({"text": {"format": {"type": "yaml"}}}, "text.format.type"),
]


@pytest.mark.parametrize(
    "metadata", [{"a": "b" * 513}, {"a" * 65: "b"}, {str(i): "b" for i in range(17)}]
)
def test_labels_are_bounded_as_a_response_gives_them_back(metadata: dict[str, str]) -> None:
    with pytest.raises(UserFault, match="at most 16 entries") as refused:
        asked(metadata=metadata)
    assert refused.value.param == "metadata"
    assert asked(metadata={"a" * 64: "b" * 512}).metadata


@pytest.mark.parametrize(("given", "param"), REFUSED)
def test_what_cannot_be_honoured_is_refused_by_its_own_name(
    given: dict[str, Any], param: str
) -> None:
    with pytest.raises(UserFault) as refused:
        asked(**given).chat()
    assert refused.value.param == param
    assert "messages" not in refused.value.message


class Light(BaseModel):
    area: Literal["kitchen", "hall"]
    level: int = Field(ge=0, le=9)


def test_a_real_model_answers_whole_streamed_and_by_a_schema(
    customer: Customer, model_server: None
) -> None:
    client = customer.client()
    options: dict[str, Any] = {"model": TINY, "temperature": 0, "max_output_tokens": 16}
    raw = client.responses.with_raw_response.create(input="Say 3.", **options)
    whole = raw.parse()
    strict(whole)
    assert raw.headers["x-privatune-base-digest"].startswith("sha256:")
    chat = client.chat.completions.create(
        model=TINY,
        messages=[{"role": "user", "content": "Say 3."}],
        temperature=0,
        max_tokens=16,
    )
    assert whole.output_text == chat.choices[0].message.content
    assert (whole.store, whole.previous_response_id) == (False, None)
    with client.responses.stream(input="Say 3.", **options) as streaming:
        *_, last = streaming
        if whole.status == "completed":
            assert streaming.get_final_response().output_text == whole.output_text
    assert last.type == f"response.{whole.status}"
    drawn: dict[str, Any] = {"model": TINY, "max_output_tokens": 300, "extra_body": {"seed": 1}}
    parsed = client.responses.parse(input="Is it on?", text_format=Light, **drawn)
    assert isinstance(parsed.output_parsed, Light)
    form: Any = {"type": "json_schema", "name": "n", "schema": {"type": "array", "contains": {}}}
    with pytest.raises(BadRequestError) as unkept:
        client.responses.create(input="x", text={"format": form}, stream=True, **drawn)
    assert unkept.value.param == "text.format.schema.contains"
    with pytest.raises(BadRequestError) as refused:
        client.responses.create(input="x", model=TINY, previous_response_id="resp_1")
    assert refused.value.param == "previous_response_id"
    with pytest.raises(BadRequestError) as thoughtless:
        client.responses.create(input="x", model=TINY, reasoning={"effort": "high"})
    assert thoughtless.value.param == "reasoning.effort"
    assert "Leave `reasoning.effort` out" in thoughtless.value.message
    with pytest.raises(BadRequestError) as none:
        client.embeddings.create(model=TINY, input="x")
    assert none.value.code == "model_writes"
