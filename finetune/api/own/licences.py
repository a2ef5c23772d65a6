"""/api/v1/licences: what the tenant may do with which model, and what is left of it."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from tenants.models import License, UsageEntry
from tenants.roles import Scope
from tenants.services.licences import tokens_left


class LicenceSerializer(serializers.ModelSerializer[License]):
    id = IdField()
    rights = serializers.ListField(child=serializers.CharField(), read_only=True)
    tokens_left = serializers.SerializerMethodField()

    class Meta:
        model = License
        fields = [
            "id", "model", "state", "rights", "valid_from", "valid_until", "token_budget",
            "tokens_left", "note", "created_at",
        ]  # fmt: skip

    def get_tokens_left(self, licence: License) -> int | None:
        return tokens_left(licence)


class UsageSerializer(serializers.ModelSerializer[UsageEntry]):
    id = IdField()
    licence = ReferenceField(License, "license_id")
    model = serializers.CharField(source="license.model")

    class Meta:
        model = UsageEntry
        fields = ["id", "licence", "model", "kind", "tokens", "reference", "created_at"]


class Licences(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @page_schema(LicenceSerializer, "The licences you hold")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(LicenceSerializer, request, License.objects.all())


class OneLicence(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @extend_schema(responses=LicenceSerializer, summary="One licence")
    def get(self, request: Request, licence_id: str) -> Any:
        return LicenceSerializer(selectors.find(License.objects.all(), licence_id)).data
