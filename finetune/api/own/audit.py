"""/api/v1/audit: who did what, as a chain whose every link covers the one before."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField
from finetune.api.own.pages import page_schema, paged
from finetune.api.streams import attachment
from finetune.services import trail
from tenants.access import still_allowed
from tenants.models import AuditEntry
from tenants.roles import Scope
from tenants.services.audit import first_broken_link
from tenants.services.heads import head_json, newest_head


class AuditEntrySerializer(serializers.ModelSerializer[AuditEntry]):
    id = IdField()

    class Meta:
        model = AuditEntry
        fields = [
            *("id", "seq", "version", "at", "kind", "actor", "user_id", "key_id"),
            *("action", "target", "data", "previous", "digest"),
        ]


CHECK = inline_serializer(
    "AuditCheck",
    {
        "intact": serializers.BooleanField(),
        "first_broken_seq": serializers.IntegerField(allow_null=True),
        "last_digest": serializers.CharField(allow_null=True),
        "signed_head": serializers.DictField(
            allow_null=True, help_text="The newest signed head: keep it, and compare later."
        ),
    },
)


class Audit(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @page_schema(AuditEntrySerializer, "The audit trail, newest first")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(AuditEntrySerializer, request, AuditEntry.objects.all(), by="seq")


class AuditCheck(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @extend_schema(responses=CHECK, summary="Recomputes the whole chain")
    def get(self, request: Request) -> dict[str, Any]:
        broken = first_broken_link()
        last = AuditEntry.objects.order_by("-seq").values_list("digest", flat=True).first()
        head = newest_head()
        return {
            "intact": broken is None,
            "first_broken_seq": broken,
            "last_digest": last,
            "signed_head": head_json(head) if head else None,
        }


class AuditExport(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @extend_schema(
        responses={(200, "application/jsonl"): OpenApiTypes.BINARY},
        summary="The whole trail as JSON lines, with its signed heads",
        description="`privatune audit verify FILE` checks it offline.",
    )
    def get(self, request: Request) -> HttpResponseBase:
        principal = self.caller.principal
        return attachment(
            trail.export(by=principal),
            filename="audit.jsonl",
            still=lambda: still_allowed(principal, Scope.TENANT_READ),
            content_type="application/jsonl",
        )
