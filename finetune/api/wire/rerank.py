"""/v1/rerank: documents in the order in which they answer a query, by a base that ranks or one's
own model tuned on it."""

from django.http import HttpRequest, HttpResponse
from django.http.response import HttpResponseBase

from finetune.api.bodies import parse
from finetune.api.wire.base import AsyncWireView
from finetune.api.wire.generating import told_of
from finetune.api.wire.rerank_body import RerankRequest, body_of
from finetune.services.models import gateway
from finetune.services.models.gateway import Target
from tenants.roles import Scope


class Rerank(AsyncWireView):
    scopes = {"post": Scope.INFER}

    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(RerankRequest, request)
        target: Target = await self.in_scope(lambda: gateway.resolve(name=asked.model))
        found, reserved = await gateway.embed(
            target=target,
            inputs=list(asked.texts()),
            query=asked.query,
            document_tokens=asked.max_tokens_per_doc,
            cut=asked.truncation,
            by=self.caller.principal,
            still=self.still_admitted,
        )
        answer = HttpResponse(body_of(asked, found), content_type="application/json")
        return told_of(answer, target, reserved)
