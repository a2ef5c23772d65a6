"""/api/v1/keys: the tenant's API keys. A secret is shown once, when it is made."""

from datetime import timedelta
from typing import Any, cast

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from tenants.errors import Invalid
from tenants.models import ApiKey
from tenants.roles import ALL_SCOPES, Scope
from tenants.services.key_changes import MOST_NAME, Changes, change_key
from tenants.services.keys import LONGEST_OVERLAP, OVERLAP, make_key, revoke_key, rotate_key


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    """`member` is the address of the person whose key it is; null: a service key, or one whose
    member is gone. `made_with` is the key that made it: it ends with that one, and works neither
    longer than that one nor from other networks."""

    id = IdField()
    scopes = serializers.ListField(child=serializers.CharField())
    allowed_addresses = serializers.ListField(child=serializers.CharField())
    member = serializers.SerializerMethodField()
    made_with = ReferenceField(ApiKey, "made_with_id", allow_null=True)

    class Meta:
        model = ApiKey
        fields = [
            "id", "name", "prefix", "scopes", "service", "member", "made_with", "allowed_addresses",
            "expires_at", "revoked_at", "previous_until", "last_used_at", "created_at",
        ]  # fmt: skip

    def get_member(self, key: ApiKey) -> str | None:
        return key.created_by.user.email if key.created_by else None


class NewKeySerializer(ApiKeySerializer):
    """`secret` is null in the answer to a repeated request: it is kept nowhere."""

    secret = serializers.CharField(allow_null=True)

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "secret"]


class RevokedKeySerializer(ApiKeySerializer):
    """`also_revoked`: the ids of the keys that it made, and those made, which ended with it now."""

    also_revoked = serializers.ListField(child=serializers.CharField())

    class Meta(ApiKeySerializer.Meta):
        fields = [*ApiKeySerializer.Meta.fields, "also_revoked"]


class KeyWishSerializer(serializers.Serializer[Any]):
    name = serializers.CharField(max_length=MOST_NAME)
    scopes = serializers.ListField(
        child=serializers.ChoiceField(sorted(ALL_SCOPES)), min_length=1, required=False
    )
    expires_at = serializers.DateTimeField(required=False, allow_null=True, default=None)
    allowed_addresses = serializers.ListField(
        child=serializers.CharField(max_length=43), required=False, default=list
    )
    service = serializers.BooleanField(required=False, default=False)


class KeyChangeSerializer(serializers.Serializer[Any]):
    """What is left out stays. Scopes stay in any case: make another key for others."""

    name = serializers.CharField(max_length=MOST_NAME, required=False)
    expires_at = serializers.DateTimeField(
        required=False, allow_null=True, help_text="Null: it does not end by itself."
    )
    allowed_addresses = serializers.ListField(
        child=serializers.CharField(max_length=43), required=False, help_text="Empty: everywhere."
    )

    def to_internal_value(self, data: Any) -> Any:
        unknown = sorted(set(data) - set(self.fields))
        if unknown:
            raise Invalid(
                "unknown_parameter",
                f"{unknown[0]!r} of a key cannot be changed.",
                fix=f"Can be: {', '.join(self.fields)}.",
                param=unknown[0],
            )
        return super().to_internal_value(data)


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
    scopes = {
        "get": Scope.TENANT_READ,
        "patch": Scope.TENANT_WRITE,
        "delete": Scope.TENANT_WRITE,
    }

    @extend_schema(responses=ApiKeySerializer, summary="One key, without its secret")
    def get(self, request: Request, key_id: str) -> Any:
        rows = ApiKey.objects.select_related("created_by__user")
        return ApiKeySerializer(selectors.find(rows, key_id)).data

    @extend_schema(
        request=KeyChangeSerializer,
        responses=ApiKeySerializer,
        summary="Change a key's name, expiry or networks; its secret stays",
    )
    def patch(self, request: Request, key_id: str) -> Any:
        found = selectors.find(ApiKey.objects.all(), key_id)
        wish = KeyChangeSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        key = change_key(
            by=self.caller.principal,
            key_id=found.id,
            changes=cast(Changes, wish.validated_data),
        )
        return ApiKeySerializer(key).data

    @extend_schema(
        responses={200: RevokedKeySerializer},
        summary="Revoke a key and those that it made; they stay in the list",
    )
    def delete(self, request: Request, key_id: str) -> dict[str, Any]:
        found = selectors.find(ApiKey.objects.all(), key_id)
        key, ended = revoke_key(by=self.caller.principal, key_id=found.id)
        return {
            **ApiKeySerializer(key).data,
            "also_revoked": [each.public_id for each in ended],
        }


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
