"""The answer to `POST /v1/chat/completions`, whole or by events, out of the engine's deltas."""

from collections.abc import AsyncGenerator, AsyncIterator
from typing import Any

from finetune.api.wire.chat_request import ChatRequest
from finetune.serving.protocol import Delta, TokenLogprob, ToolCall, Usage

Deltas = AsyncIterator[Delta]


def usage_object(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


async def whole(head: dict[str, Any], asked: ChatRequest, deltas: Deltas) -> dict[str, Any]:
    choices = [_Choice(index) for index in range(asked.n or 1)]
    usage = Usage(prompt_tokens=0, completion_tokens=0)
    async for delta in deltas:
        if delta.usage is not None:
            usage = delta.usage
        else:
            choices[delta.index].add(delta)
    return {
        **head,
        "object": "chat.completion",
        "choices": [choice.shown(bool(asked.logprobs)) for choice in choices],
        "usage": usage_object(usage),
    }


class _Choice:
    """One choice as it grows."""

    def __init__(self, index: int) -> None:
        self.index = index
        self.text = ""
        self.reasoning = ""
        self.logprobs: list[dict[str, Any]] = []
        self.tool_calls: list[ToolCall] = []
        self.finish_reason: str | None = None

    def add(self, delta: Delta) -> None:
        self.text += delta.text
        self.reasoning += delta.reasoning
        self.logprobs += logprobs_of(delta.logprobs)
        self.tool_calls += delta.tool_calls
        self.finish_reason = delta.finish_reason or self.finish_reason

    def shown(self, logprobs: bool) -> dict[str, Any]:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": self.text if self.text or not self.tool_calls else None,
            "refusal": None,
        }
        if self.reasoning:
            message["reasoning_content"] = self.reasoning
        if self.tool_calls:
            message["tool_calls"] = [tool_call(call) for call in self.tool_calls]
        return {
            "index": self.index,
            "message": message,
            "logprobs": logprobs_object(self.logprobs) if logprobs else None,
            "finish_reason": self.finish_reason,
        }


async def events(
    head: dict[str, Any], asked: ChatRequest, deltas: Deltas
) -> AsyncGenerator[dict[str, Any]]:
    """A chunk with the role for each choice, then what each gains, then usage when asked for."""

    def chunk(choices: list[dict[str, Any]], usage: Usage | None = None) -> dict[str, Any]:
        body = {**head, "object": "chat.completion.chunk", "choices": choices}
        if asked.include_usage:
            body["usage"] = usage_object(usage) if usage else None
        return body

    for index in range(asked.n or 1):
        opening = {"role": "assistant", "content": "", "refusal": None}
        yield chunk([_streamed(index, opening)])
    async for delta in deltas:
        if delta.usage is None:
            yield chunk([_gain(delta, bool(asked.logprobs))])
        elif asked.include_usage:
            yield chunk([], delta.usage)


def _gain(delta: Delta, logprobs: bool) -> dict[str, Any]:
    gained: dict[str, Any] = {"content": delta.text} if delta.text else {}
    if delta.reasoning:
        gained["reasoning_content"] = delta.reasoning
    if delta.tool_calls:
        gained["tool_calls"] = [
            {"index": call.index, **tool_call(call)} for call in delta.tool_calls
        ]
    choice = _streamed(delta.index, gained, delta.finish_reason)
    if logprobs and delta.logprobs:
        choice["logprobs"] = logprobs_object(logprobs_of(delta.logprobs))
    return choice


def _streamed(index: int, gained: dict[str, Any], reason: str | None = None) -> dict[str, Any]:
    return {"index": index, "delta": gained, "logprobs": None, "finish_reason": reason}


def tool_call(call: ToolCall) -> dict[str, Any]:
    return {
        "id": call.id,
        "type": "function",
        "function": {"name": call.name, "arguments": call.arguments},
    }


def logprobs_object(content: list[dict[str, Any]]) -> dict[str, Any]:
    return {"content": content, "refusal": None}


def logprobs_of(tokens: list[TokenLogprob]) -> list[dict[str, Any]]:
    return [
        {
            "token": each.token,
            "logprob": each.logprob,
            "bytes": each.bytes,
            "top_logprobs": [top.model_dump() for top in each.top_logprobs],
        }
        for each in tokens
    ]
