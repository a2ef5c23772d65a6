"""/api/v1/keys: the tenant's API keys. A secret is shown once, when it is made."""

from datetime import timedelta
from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField
from finetune.api.own.pages import page_schema, paged
from tenants.models import ApiKey
from tenants.roles import ALL_SCOPES, Scope
from tenants.services.keys import LONGEST_OVERLAP, OVERLAP, make_key, revoke_key, rotate_key


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """`member` is the address of the person whose key it is; null: a service key, or one whose
    member is gone."""

    id = IdField()
    scopes = serializers.ListField(child=serializers.CharField())
    allowed_addresses = serializers.ListField(child=serializers.CharField())
    member = serializers.SerializerMethodField()

    class Meta:
        model = ApiKey
        fields = [
            "id", "name", "prefix", "scopes", "service", "member", "allowed_addresses",
            "expires_at", "revoked_at", "previous_until", "last_used_at", "created_at",
        ]  # fmt: skip

    def get_member(self, key: ApiKey) -> str | None:
        return key.created_by.user.email if key.created_by else None


class NewKeySerializer(ApiKeySerializer):
    """`secret` is null in the answer to a repeated request: it is kept nowhere."""

    secret = serializers.CharField(allow_null=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "secret"]


class KeyWishSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=80)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(sorted(ALL_SCOPES)), min_length=1, required=False
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    allowed_addresses = serializers.ListField(
        child=serializers.CharField(max_length=43), required=False, default=list
    )
    service = serializers.BooleanField(required=False, default=False)


class RotationWishSerializer(serializers.Serializer[Any]):
    overlap_seconds = serializers.IntegerField(
        required=False,
        min_value=0,
        max_value=int(LONGEST_OVERLAP.total_seconds()),
        default=int(OVERLAP.total_seconds()),
    )


class Keys(OwnView):
    scopes = {"get": Scope.TENANT_READ, "post": Scope.TENANT_WRITE}

    @page_schema(ApiKeySerializer, "Your API keys, without their secrets")
    def get(self, request: Request) -> dict[str, Any]:
        rows = ApiKey.objects.select_related("created_by__user")
        return paged(ApiKeySerializer, request, rows)

    @extend_schema(
        request=KeyWishSerializer,
        responses={200: NewKeySerializer},
        summary="Make a key; `scopes` default to those of the key that asks",
    )
    def post(self, request: Request) -> dict[str, Any]:
        wish = KeyWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        key, secret = make_key(by=self.caller.principal, **wish.validated_data)
        return {**ApiKeySerializer(key).data, "secret": secret}

    def recorded(self, body: Any) -> Any:
        return {**body, "secret": None}


class OneKey(OwnView):
    scopes = {"delete": Scope.TENANT_WRITE}

    @extend_schema(responses={200: ApiKeySerializer}, summary="Revoke a key; it stays in the list")
    def delete(self, request: Request, key_id: str) -> Any:
        key = selectors.find(ApiKey.objects.all(), key_id)
        return ApiKeySerializer(revoke_key(by=self.caller.principal, key_id=key.id)).data


class Rotation(OwnView):
    scopes = {"post": Scope.TENANT_WRITE}

    @extend_schema(
        request=RotationWishSerializer,
        responses={200: NewKeySerializer},
        summary="A new secret for a key; the old one lives on for `overlap_seconds`",
    )
    def post(self, request: Request, key_id: str) -> dict[str, Any]:
        found = selectors.find(ApiKey.objects.all(), key_id)
        wish = RotationWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        overlap = timedelta(seconds=wish.validated_data["overlap_seconds"])
        key, secret = rotate_key(by=self.caller.principal, key_id=found.id, overlap=overlap)
        return {**ApiKeySerializer(key).data, "secret": secret}

    def recorded(self, body: Any) -> Any:
        return {**body, "secret": None}
