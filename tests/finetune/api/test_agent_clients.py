"""A framework for agents that speaks OpenAI's wire, pydantic-ai, of a real model server. It asks in
its own ways: every tool is strict, and an answer of a type is a forced call."""

import asyncio
from typing import Literal

from pydantic import BaseModel, Field
from pydantic_ai import Agent, NativeOutput, Tool
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider
from pydantic_ai.settings import ModelSettings

from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer

SETTINGS = ModelSettings(temperature=1, seed=1, max_tokens=300)


class Light(BaseModel):
    area: Literal["kitchen", "厨房"]
    level: int = Field(ge=0, le=9)


def model_of(customer: Customer) -> OpenAIChatModel:
    provider = OpenAIProvider(base_url=f"{customer.base_url}/v1", api_key=customer.key)
    return OpenAIChatModel(TINY, provider=provider, settings=SETTINGS)


def test_an_agents_answers_are_of_their_type(customer: Customer, model_server: None) -> None:
    for output in (Light, NativeOutput(Light)):  # a forced call, and a form
        agent = Agent(model_of(customer), output_type=output)
        assert isinstance(agent.run_sync("Turn on the light.").output, Light)


def test_an_agents_stream_ends_in_its_type(customer: Customer, model_server: None) -> None:
    async def streamed() -> list[Light]:
        agent = Agent(model_of(customer), output_type=NativeOutput(Light))
        async with agent.run_stream("Turn on the light.") as result:
            return [each async for each in result.stream_output()]

    assert isinstance(asyncio.run(streamed())[-1], Light)


class Switched(Exception):
    """Ends a run, as what follows would not fit into the tiny model's context."""


def test_an_agents_tools_are_called_with_what_they_take(
    customer: Customer, model_server: None
) -> None:
    def switch(on: bool) -> None:
        assert isinstance(on, bool)
        raise Switched

    tools = [Tool(switch, strict=True)]
    free = Agent(model_of(customer), tools=tools)  # it may talk as well
    said = free.run_sync("Hello.", model_settings={"max_tokens": 8})
    assert isinstance(said.output, str)
    forced = {"tool_choice": {"type": "function", "function": {"name": "switch"}}}
    switched = 0
    for seed in range(8):
        settings = ModelSettings(seed=seed, extra_body=forced)
        try:
            free.run_sync("Hi.", model_settings=settings)
        except Switched:
            switched += 1  # others were cut off: a random model may write blanks for long
    assert switched
