"""/v1/embeddings: vectors of texts, or of lists of token ids, by a base that embeds or one's own
model tuned on it."""

import asyncio

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from finetune.api.bodies import parse
from finetune.api.wire.base import AsyncWireView
from finetune.api.wire.embedding_body import SIDES, EmbeddingRequest, body_of
from finetune.api.wire.generating import told_of
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from tenants.roles import Scope


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
        body = await asyncio.to_thread(body_of, asked, found)
        answer = HttpResponse(body, content_type="application/json")
        return told_of(answer, target, reserved)
