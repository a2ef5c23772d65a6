"""/v1/embeddings: vectors of texts, or of lists of token ids, by a base that embeds or one's own
model tuned on it."""

import base64
from array import array
from typing import Any, Literal

from django.http import HttpRequest
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field

from faults import UserFault
from finetune.api.bodies import parse
from finetune.api.wire.base import AsyncWireView, reply
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
        return told_of(reply(_body(asked, found)), target, reserved)


def _body(asked: EmbeddingRequest, found: Embedded) -> dict[str, Any]:
    shown = [
        each if asked.encoding_format == "base64" else _numbers(each) for each in found.vectors
    ]
    return {
        "object": "list",
        "data": [
            {"object": "embedding", "index": index, "embedding": each}
            for index, each in enumerate(shown)
        ],
        "model": asked.model,
        "usage": {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens},
    }


def _numbers(written: str) -> list[float]:
    return array("f", base64.b64decode(written)).tolist()
