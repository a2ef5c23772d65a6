"""/api/v1/usage: the tokens used under each licence, entry by entry."""

from typing import Any

from rest_framework.request import Request

from finetune.api.own.base import OwnView
from finetune.api.own.licences import UsageSerializer
from finetune.api.own.pages import page_schema, paged
from tenants.models import UsageEntry
from tenants.roles import Scope


class Usage(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @page_schema(UsageSerializer, "Tokens used, newest first")
    def get(self, request: Request) -> dict[str, Any]:
        rows = UsageEntry.objects.select_related("license")
        return paged(UsageSerializer, request, rows)
