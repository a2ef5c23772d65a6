"""Structured output as OpenAI's own client asks for it, of a real model server."""

import itertools
import json
import os
import signal
import subprocess
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

import pytest
from openai import BadRequestError, LengthFinishReasonError, pydantic_function_tool
from pydantic import BaseModel, Field

from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, new_customer, strict
from tests.fixtures.waiting import until

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
    bare: Any = {"type": "json_schema", "json_schema": {"name": "n"}}
    forms: list[Any] = [{"type": "json_object"}, bare]
    for seed in range(4):
        answer = client.chat.completions.create(
            messages=HELLO, response_format=forms[seed % 2], **(DRAW | {"seed": seed})
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
    form: Any = {"name": "n", "schema": {"type": "object", "properties": {"a": {"contains": {}}}}}
    with pytest.raises(BadRequestError) as refused:
        customer.client().chat.completions.create(
            messages=HELLO,
            response_format={"type": "json_schema", "json_schema": form},
            stream=True,
            **DRAW,
        )
    assert refused.value.code == "schema_unsupported"
    assert refused.value.param == "response_format.json_schema.schema.properties.a.contains"


def test_a_forced_call_is_parsed_by_the_client(customer: Customer, model_server: None) -> None:
    client = customer.client()
    tools: list[Any] = [pydantic_function_tool(Light, name="light")]
    named: Any = {"type": "function", "function": {"name": "light"}}
    allowed: Any = {
        "type": "allowed_tools",
        "allowed_tools": {"mode": "required", "tools": [named]},
    }
    choices: list[Any] = ["required", named, allowed]
    for choice in choices:
        answer = client.chat.completions.parse(
            messages=HELLO, tools=tools, tool_choice=choice, parallel_tool_calls=False, **DRAW
        )
        assert answer.choices[0].finish_reason == "tool_calls"
        (call,) = answer.choices[0].message.tool_calls or []
        assert isinstance(call.function.parsed_arguments, Light)


def test_who_sends_dear_schemas_holds_up_nobody_else(
    customer: Customer, base_url: str, tiny_model: str, model_server: "subprocess.Popen[bytes]"
) -> None:
    hostile = new_customer(base_url, models=[tiny_model]).client()
    client = customer.client()
    client.chat.completions.parse(messages=HELLO, response_format=Light, **DRAW)

    numbers, held = itertools.count(), list[int]()

    def attack() -> set[str | None]:
        """Until one is held: a fork may be over between two looks."""
        codes = set()
        while not codes or not held:
            dear = {"type": "integer", "multipleOf": 999_983}
            schema = {"type": "object", "properties": {f"a{next(numbers)}": dear}}
            form: Any = {"type": "json_schema", "json_schema": {"name": "n", "schema": schema}}
            with pytest.raises(BadRequestError) as refused:
                hostile.chat.completions.create(messages=HELLO, response_format=form, **DRAW)
            assert "Use fewer" in refused.value.message
            codes.add(refused.value.code)
        return codes

    with ThreadPoolExecutor(2) as pool:
        sent = [pool.submit(attack) for _ in range(2)]
        until(lambda: _hold(model_server.pid, held), "no schema is compiled", pause=0.005)
        try:  # it will never be compiled, however fast this machine is
            for form in (Plan, Light):
                answer = client.chat.completions.parse(messages=HELLO, response_format=form, **DRAW)
                assert isinstance(answer.choices[0].message.parsed, form)
            assert not all(each.done() for each in sent)
        finally:
            os.kill(held[0], signal.SIGCONT)
        assert set().union(*(each.result() for each in sent)) == {"schema_too_large"}


def _hold(server: int, held: list[int]) -> bool:
    """Stops a fork in which a schema is being compiled."""
    for compiler in _children(server):
        for fork in _children(compiler):
            try:
                os.kill(fork, signal.SIGSTOP)
                is_held = _stat(fork)[0] == "T"
            except (ProcessLookupError, FileNotFoundError):
                continue
            if is_held:  # and was not over in between
                held.append(fork)
                return True
    return False


def _children(parent: int) -> list[int]:
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with suppress(ProcessLookupError, FileNotFoundError):
            if int(_stat(int(folder.name))[1]) == parent:
                found.append(int(folder.name))
    return found


def _stat(process: int) -> list[str]:
    """State, parent and what follows them in /proc/PID/stat."""
    return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
