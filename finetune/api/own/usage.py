"""/api/v1/usage: the tokens used under each licence, entry by entry, and what is stored."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from finetune.api.own.base import OwnView
from finetune.api.own.licences import UsageSerializer
from finetune.api.own.pages import PARAMETERS, paged
from finetune.services.files.room import storage
from tenants.models import UsageEntry
from tenants.roles import Scope


class StorageSerializer(serializers.Serializer[Any]):
    """Bytes. `reserved`: what jobs that have not ended may still write."""

    limit = serializers.IntegerField()
    used = serializers.IntegerField()
    by_kind = serializers.DictField(child=serializers.IntegerField())


SHAPE = inline_serializer(
    "UsagePage",
    {
        "data": UsageSerializer(many=True),
        "has_more": serializers.BooleanField(),
        "storage": StorageSerializer(),
    },
)


class Usage(OwnView):
    scopes = {"get": Scope.TENANT_READ}

    @extend_schema(
        operation_id="usage_list",
        parameters=PARAMETERS,
        responses=SHAPE,
        summary="Tokens used, newest first, and the storage used of what you may use",
    )
    def get(self, request: Request) -> dict[str, Any]:
        rows = UsageEntry.objects.select_related("license")
        return paged(UsageSerializer, request, rows) | {
            "storage": StorageSerializer(storage()).data
        }
