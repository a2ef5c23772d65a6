"""The answer to `POST /v1/completions`, whole or by events, out of the engine's deltas."""

import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing
from typing import Any

from finetune.api.wire.chat_answer import Deltas, usage_object
from finetune.api.wire.completion_request import CompletionRequest
from finetune.serving.protocol import Delta, TokenLogprob, Usage

Begin = Callable[[dict[str, Any]], Awaitable[Deltas]]
"""The deltas that answer a generation, once the first of them is there."""


async def in_turn(
    asked: CompletionRequest, generations: Sequence[dict[str, Any]], begin: Begin
) -> Deltas:
    """The prompts one after the other, their choices numbered on, and one sum of usage. Returns
    once the first has begun."""
    first = await begin(generations[0])

    async def rest() -> Deltas:
        used = [0, 0]
        for number, generation in enumerate(generations):
            deltas = first if number == 0 else await begin(generation)
            async with aclosing(deltas) as stream:  # type: ignore[type-var]
                async for delta in stream:
                    if delta.usage is None:
                        index = number * (asked.n or 1) + delta.index
                        yield delta.model_copy(update={"index": index})
                    else:
                        used[0] += delta.usage.prompt_tokens
                        used[1] += delta.usage.completion_tokens
        yield Delta(usage=Usage(prompt_tokens=used[0], completion_tokens=used[1]))

    return rest()


async def whole(
    head: dict[str, Any], asked: CompletionRequest, deltas: Deltas, prompts: int
) -> dict[str, Any]:
    count = prompts * (asked.n or 1)
    texts = [""] * count
    tokens = [Logprobs() for _ in range(count)]
    reasons: list[str | None] = [None] * count
    usage = Usage(prompt_tokens=0, completion_tokens=0)
    async for delta in deltas:
        if delta.usage is not None:
            usage = delta.usage
            continue
        texts[delta.index] += delta.text
        tokens[delta.index].add(delta.logprobs)
        reasons[delta.index] = delta.finish_reason or reasons[delta.index]
    choices = [
        choice(i, texts[i], tokens[i].shown() if asked.logprobs is not None else None, reasons[i])
        for i in range(count)
    ]
    return {**head, "choices": choices, "usage": usage_object(usage)}


async def events(
    head: dict[str, Any], asked: CompletionRequest, deltas: Deltas
) -> AsyncGenerator[dict[str, Any]]:
    async for delta in deltas:
        if delta.usage is None:
            tokens = None
            if asked.logprobs is not None and delta.logprobs:
                tokens = Logprobs()
                tokens.add(delta.logprobs)
            told = tokens.shown() if tokens else None
            shown = choice(delta.index, delta.text, told, delta.finish_reason)
            yield {**head, "choices": [shown]} | ({"usage": None} if asked.include_usage else {})
        elif asked.include_usage:
            yield {**head, "choices": [], "usage": usage_object(delta.usage)}


def choice(
    index: int, text: str, logprobs: dict[str, Any] | None, reason: str | None
) -> dict[str, Any]:
    return {
        "index": index,
        "text": text,
        "logprobs": logprobs,
        "finish_reason": reason,
    }


def _alternatives(token: TokenLogprob) -> dict[str, float] | None:
    """With the token itself, which makes one more than were asked for where it is none of the
    likeliest. None where nothing predicts it: an echoed prompt's first."""
    if token.logprob is None:
        return None
    found = {sys.intern(each.token): each.logprob for each in token.top_logprobs}
    found.setdefault(sys.intern(token.token), token.logprob)
    return found


class Logprobs:
    """The wire's columns, filled as tokens come: they take a fraction of the tokens' objects."""

    def __init__(self) -> None:
        self._tokens: list[str] = []
        self._own: list[float | None] = []
        self._top: list[dict[str, float] | None] = []
        self._offsets: list[int] = []

    def add(self, tokens: list[TokenLogprob]) -> None:
        self._tokens += [sys.intern(each.token) for each in tokens]
        self._own += [each.logprob for each in tokens]
        self._top += map(_alternatives, tokens)
        self._offsets += [each.text_offset for each in tokens]

    def shown(self) -> dict[str, Any]:
        return {
            "tokens": self._tokens,
            "token_logprobs": self._own,
            "top_logprobs": self._top,
            "text_offset": self._offsets,
        }
