"""/v1/embeddings: refused, in words, as long as no model here makes embeddings."""

from typing import Any

from django.http import HttpRequest

from faults import UserFault
from finetune.api.wire.base import WireView
from tenants.roles import Scope


class Embeddings(WireView):
    scopes = {"post": Scope.INFER}

    def post(self, request: HttpRequest) -> dict[str, Any]:
        raise UserFault(
            "embeddings_not_offered",
            "No model here makes embeddings yet: the catalogue has models that write text.",
            fix="Use `/v1/chat/completions`, `/v1/responses` or `/v1/completions`.",
        )
