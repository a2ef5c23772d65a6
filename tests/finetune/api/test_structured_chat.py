"""Structured output as OpenAI's own client asks for it, of a real model server."""

import json
from typing import Any, Literal

import pytest
from openai import BadRequestError, LengthFinishReasonError, pydantic_function_tool
from pydantic import BaseModel, Field

from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, strict

HELLO: list[Any] = [{"role": "user", "content": "Turn on the light."}]
DRAW: dict[str, Any] = {"model": TINY, "temperature": 1, "seed": 1, "max_tokens": 300}


class Light(BaseModel):
    area: Literal["kitchen", "厨房"]
    level: int = Field(ge=0, le=9)


class Plan(BaseModel):
    lights: list[Light] = Field(max_length=2)
    note: Light | None


def test_the_clients_own_parsing_gets_what_it_asked_for(
    customer: Customer, model_server: None
) -> None:
    client = customer.client()
    for form in (Light, Plan):
        answer = client.chat.completions.parse(messages=HELLO, response_format=form, n=2, **DRAW)
        assert all(isinstance(each.message.parsed, form) for each in answer.choices)
    with client.chat.completions.stream(messages=HELLO, response_format=Light, **DRAW) as stream:
        for _ in stream:
            pass
        assert isinstance(stream.get_final_completion().choices[0].message.parsed, Light)
    with pytest.raises(LengthFinishReasonError):
        client.chat.completions.parse(
            messages=HELLO, response_format=Light, **(DRAW | {"max_tokens": 2})
        )


def test_any_json_object_is_one(customer: Customer, model_server: None) -> None:
    client = customer.client()
    found = 0
    for seed in range(4):
        answer = client.chat.completions.create(
            messages=HELLO, response_format={"type": "json_object"}, **(DRAW | {"seed": seed})
        )
        strict(answer)
        choice = answer.choices[0]
        assert choice.message.content
        assert choice.message.content.startswith("{")
        if choice.finish_reason == "stop":
            assert isinstance(json.loads(choice.message.content), dict)
            found += 1
    assert found


def test_a_schema_that_cannot_be_honoured_is_a_400_before_a_stream_begins(
    customer: Customer, model_server: None
) -> None:
    form: Any = {"name": "n", "schema": {"type": "object", "properties": {"a": {"not": {}}}}}
    with pytest.raises(BadRequestError) as refused:
        customer.client().chat.completions.create(
            messages=HELLO,
            response_format={"type": "json_schema", "json_schema": form},
            stream=True,
            **DRAW,
        )
    assert refused.value.code == "schema_unsupported"
    assert refused.value.param == "response_format.json_schema.schema.properties.a.not"


def test_a_forced_call_is_parsed_by_the_client(customer: Customer, model_server: None) -> None:
    client = customer.client()
    tools: list[Any] = [pydantic_function_tool(Light, name="light")]
    for choice in ("required", {"type": "function", "function": {"name": "light"}}):
        answer = client.chat.completions.parse(
            messages=HELLO, tools=tools, tool_choice=choice, parallel_tool_calls=False, **DRAW
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls or []
        assert isinstance(call.function.parsed_arguments, Light)
