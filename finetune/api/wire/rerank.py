"""/v1/rerank: documents in the order in which they answer a query, by a base that ranks or one's
own model tuned on it. As Jina, Cohere and vLLM have it: OpenAI's API has no such door."""

import base64
import json
import uuid
from array import array
from typing import Annotated, Any

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field

from finetune.api.bodies import parse
from finetune.api.wire.base import AsyncWireView
from finetune.api.wire.generating import told_of
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from finetune.serving.protocol import MOST_INPUTS, Embedded
from tenants.roles import Scope

_Text = Annotated[str, Field(min_length=1)]


class Document(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    text: _Text


class RerankRequest(BaseModel):
    """`top_n`: how many results there are at most; 0 for all, as vLLM has it. A pair longer than
    the model reads is cut, the longer of its texts first."""

    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    query: _Text
    documents: Annotated[list[_Text | Document], Field(min_length=1, max_length=MOST_INPUTS)]
    top_n: int | None = Field(None, ge=0)
    return_documents: bool | None = None

    @property
    def texts(self) -> list[str]:
        return [each if isinstance(each, str) else each.text for each in self.documents]


class Rerank(AsyncWireView):
    scopes = {"post": Scope.INFER}

    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(RerankRequest, request)
        target: Target = await self.in_scope(lambda: gateway.resolve(name=asked.model))
        found, reserved = await gateway.embed(
            target=target,
            inputs=list(asked.texts),
            query=asked.query,
            by=self.caller.principal,
            still=self.still_admitted,
        )
        body = json.dumps(_shown(asked, found), ensure_ascii=False).encode()
        return told_of(HttpResponse(body, content_type="application/json"), target, reserved)


def _shown(asked: RerankRequest, found: Embedded) -> dict[str, Any]:
    """The highest score first; of equal ones, what was named first."""
    scores = [array("f", base64.b64decode(written))[0] for written in found.vectors]
    order = sorted(range(len(scores)), key=lambda number: -scores[number])
    texts = asked.texts
    results: list[dict[str, Any]] = [
        {"index": number, "relevance_score": scores[number]}
        | ({"document": {"text": texts[number]}} if asked.return_documents else {})
        for number in order[: asked.top_n or None]
    ]
    usage = {"prompt_tokens": found.prompt_tokens, "total_tokens": found.prompt_tokens}
    told = {"id": f"rerank-{uuid.uuid4().hex}", "object": "list", "model": asked.model}
    return told | {"results": results, "usage": usage}
