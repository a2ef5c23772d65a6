"""/v1/embeddings: vectors of texts, or of lists of token ids, by a base that embeds or one's own
model tuned on it."""

import asyncio
import base64
import json
from array import array
from typing import Any, Literal

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field

from faults import UserFault
from finetune.api.bodies import parse
from finetune.api.wire.base import AsyncWireView
from finetune.api.wire.generating import told_of
from finetune.records.recipe import Side
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from finetune.serving.protocol import MOST_INPUTS, Embedded
from tenants.roles import Scope

SIDES: dict[str | None, Side] = {None: "text", "query": "query", "document": "document"}


class EmbeddingRequest(BaseModel):
    """OpenAI's, and `input_type`: what the inputs are, by which the base puts its prompt before
    them."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    input: str | list[str] | list[int] | list[list[int]]
    encoding_format: Literal["float", "base64"] = "float"
    dimensions: int | None = Field(None, ge=1)
    user: str | None = None
    input_type: Literal["query", "document"] | None = None

    def inputs(self) -> list[str | list[int]]:
        """Raises UserFault for none or too many."""
        given: list[Any] = self.input if isinstance(self.input, list) else [self.input]
        if given and all(isinstance(each, int) for each in given):
            given = [given]
        if not 1 <= len(given) <= MOST_INPUTS or not all(given):
            raise UserFault(
                "invalid_value",
                f"`input` must be 1 to {MOST_INPUTS} texts or lists of token ids, none empty.",
                param="input",
            )
        return given


class Embeddings(AsyncWireView):
    scopes = {"post": Scope.INFER}

    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(EmbeddingRequest, request)
        inputs = asked.inputs()
        target: Target = await self.in_scope(lambda: gateway.resolve(name=asked.model))
        found, reserved = await gateway.embed(
            target=target,
            inputs=inputs,
            side=SIDES[asked.input_type],
            dimensions=asked.dimensions,
            by=self.caller.principal,
            still=self.still_admitted,
        )
        # Millions of numbers take seconds to write: in a thread, which gives way after each vector
        body = await asyncio.to_thread(_body, asked, found)
        answer = HttpResponse(body, content_type="application/json")
        return told_of(answer, target, reserved)


def _body(asked: EmbeddingRequest, found: Embedded) -> bytes:
    """The answer as JSON."""
    vectors = []
    for index, written in enumerate(found.vectors):
        shown = written if asked.encoding_format == "base64" else _numbers(written)
        vectors.append(
            json.dumps({"object": "embedding", "index": index, "embedding": shown}).encode()
        )
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    rest = json.dumps({"model": asked.model, "usage": usage}, ensure_ascii=False).encode()
    return b'{"object": "list", "data": [' + b", ".join(vectors) + b"], " + rest[1:]


def _numbers(written: str) -> list[float]:
    return array("f", base64.b64decode(written)).tolist()
