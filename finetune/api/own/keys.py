"""/api/v1/keys: the tenant's API keys. A secret is shown once, when it is made."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField
from finetune.api.own.pages import page_schema, paged
from tenants.errors import Refused
from tenants.models import ApiKey
from tenants.roles import ALL_SCOPES, Scope
from tenants.services.tenants import create_key, revoke_key


class ApiKeySerializer(serializers.ModelSerializer[ApiKey]):
    id = IdField()
    scopes = serializers.ListField(child=serializers.CharField())

    class Meta:
        model = ApiKey
        fields = ["id", "name", "prefix", "scopes", "expires_at", "revoked_at", "created_at"]


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


class Keys(OwnView):
    scopes = {"get": Scope.TENANT_READ, "post": Scope.TENANT_WRITE}

    @page_schema(ApiKeySerializer, "Your API keys, without their secrets")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(ApiKeySerializer, request, ApiKey.objects.all())

    @extend_schema(
        request=KeyWishSerializer,
        responses={200: NewKeySerializer},
        summary="Make a key; `scopes` default to those of the key that asks",
    )
    def post(self, request: Request) -> dict[str, Any]:
        wish = KeyWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        own = self.caller.principal.scopes
        scopes = frozenset(wish.validated_data.get("scopes", own))
        if not scopes <= own:
            raise Refused(
                "scope_beyond_own",
                f"Your key does not have the scope `{sorted(scopes - own)[0]}` itself.",
                fix="A key can pass on its own scopes only.",
                param="scopes",
            )
        key, secret = create_key(
            tenant_id=self.caller.principal.tenant_id,
            name=wish.validated_data["name"],
            actor=self.caller.actor,
            scopes=scopes,
            expires_at=wish.validated_data["expires_at"],
        )
        return {**ApiKeySerializer(key).data, "secret": secret}

    def recorded(self, body: Any) -> Any:
        return {**body, "secret": None}


class OneKey(OwnView):
    scopes = {"delete": Scope.TENANT_WRITE}

    @extend_schema(responses={200: ApiKeySerializer}, summary="Revoke a key; it stays in the list")
    def delete(self, request: Request, key_id: str) -> Any:
        key = selectors.find(ApiKey.objects.all(), key_id)
        revoke_key(
            tenant_id=self.caller.principal.tenant_id, key_id=key.id, actor=self.caller.actor
        )
        key.refresh_from_db()
        return ApiKeySerializer(key).data
