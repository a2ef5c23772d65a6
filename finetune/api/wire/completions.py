"""/v1/completions: untemplated text, whole or streamed, for one prompt or several."""

import sys
from collections.abc import AsyncGenerator
from contextlib import aclosing
from functools import partial
from typing import Any
from uuid import uuid4

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from pydantic import Field

from faults import UserFault
from finetune.api.bodies import parse
from finetune.api.wire.event_streams import Deltas
from finetune.api.wire.generating import (
    GeneratingView,
    Opening,
    stream_reply,
    usage_object,
    whole_reply,
)
from finetune.api.wire.sampling import Sampling, now
from finetune.services.models.gateway import Target
from finetune.services.models.tokens import Reservation
from finetune.serving.protocol import Delta, TokenLogprob, Usage

MAX_PROMPTS = 64
DEFAULT_TOKENS = 16  # OpenAI's

NEUTRAL: dict[str, tuple[Any, ...]] = {
    "best_of": (1,),
    "suffix": ("",),
}


class CompletionRequest(Sampling):
    prompt: str | list[str] | list[int] | list[list[int]]
    max_tokens: int | None = Field(None, ge=0)
    echo: bool | None = None
    logprobs: int | None = Field(None, ge=0, le=5)

    def check(self) -> None:
        """Raises UserFault for what cannot be honoured."""
        self.refuse_unoffered(NEUTRAL)
        if self.max_tokens == 0 and not self.echo:
            raise UserFault(
                "invalid_value",
                "`max_tokens` 0 asks for no answer.",
                fix="Add `echo: true` to have the prompt scored, or ask for a token or more.",
                param="max_tokens",
            )

    def prompts(self) -> list[str | list[int]]:
        """Raises UserFault for none, too many, or an empty one."""
        given: list[Any] = self.prompt if isinstance(self.prompt, list) else [self.prompt]
        if given and all(isinstance(each, int) for each in given):
            given = [given]
        if not 1 <= len(given) <= MAX_PROMPTS or not all(given):
            raise UserFault(
                "invalid_value",
                f"`prompt` must be 1 to {MAX_PROMPTS} texts or lists of token ids, none empty.",
                param="prompt",
            )
        return given

    def generation(self, prompt: str | list[int]) -> dict[str, Any]:
        return self.drawing() | {
            "prompt": prompt,
            "echo": bool(self.echo),
            "max_tokens": DEFAULT_TOKENS if self.max_tokens is None else self.max_tokens,
            "logprobs": self.logprobs is not None,
            "top_logprobs": self.logprobs or 0,
        }


class Completions(GeneratingView):
    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(CompletionRequest, request)
        asked.check()
        prompts = asked.prompts()
        target = await self.resolve(asked.model)
        generations = [asked.generation(prompt) for prompt in prompts]
        opening = Opening(self, target, generations, partial(self._all, target, asked, generations))
        head = {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": now(),
            "model": target.model,
            "system_fingerprint": target.fingerprint,
        }
        if asked.stream:
            return await stream_reply(opening, partial(events, head, asked))
        deltas = await opening.deltas()
        return whole_reply(await whole(head, asked, deltas, len(prompts)), opening)

    async def _all(
        self,
        target: Target,
        asked: CompletionRequest,
        generations: list[dict[str, Any]],
        reserved: Reservation,
    ) -> Deltas:
        """The prompts one after the other, their choices numbered on, and one sum of usage."""
        first = await self.begun(target, generations[0], reserved)

        async def rest() -> Deltas:
            used = [0, 0]
            for number, generation in enumerate(generations):
                deltas = first if number == 0 else await self.begun(
                    target, generation, reserved
                )  # fmt: skip
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
        self._top += [
            {sys.intern(top.token): top.logprob for top in each.top_logprobs} or None
            for each in tokens
        ]
        self._offsets += [each.text_offset for each in tokens]

    def shown(self) -> dict[str, Any]:
        return {
            "tokens": self._tokens,
            "token_logprobs": self._own,
            "top_logprobs": self._top,
            "text_offset": self._offsets,
        }
