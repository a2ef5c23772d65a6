"""/api/v1/support-access: whether the operator may look at the tenant's jobs, and until when."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune.api.own.base import OwnView
from tenants.models import SupportConsent
from tenants.roles import Scope
from tenants.services.support import (
    MOST_HOURS,
    MOST_REASON,
    grant_support,
    revoke_support,
    standing_consent,
)


class SupportAccessSerializer(serializers.Serializer[Any]):
    """What stands now; closed, all but `open` is null. The audit trail has what stood before, and
    what was looked at."""

    open = serializers.BooleanField()
    until = serializers.DateTimeField(allow_null=True)
    reason = serializers.CharField(allow_null=True)
    granted_by = serializers.CharField(allow_null=True)
    created_at = serializers.DateTimeField(allow_null=True)


class SupportWishSerializer(serializers.Serializer[Any]):
    hours = serializers.IntegerField(min_value=1, max_value=MOST_HOURS)
    reason = serializers.CharField(
        max_length=MOST_REASON, help_text="Why the operator should look; shown to the operator."
    )


class SupportAccess(OwnView):
    scopes = {
        "get": Scope.TENANT_READ,
        "post": Scope.TENANT_WRITE,
        "delete": Scope.TENANT_WRITE,
    }

    @extend_schema(
        responses=SupportAccessSerializer, summary="Whether the operator may look at your jobs"
    )
    def get(self, request: Request) -> Any:
        return _shown(standing_consent())

    @extend_schema(
        request=SupportWishSerializer,
        responses={200: SupportAccessSerializer},
        summary="Let the operator look for some hours; an owner's key only",
    )
    def post(self, request: Request) -> Any:
        wish = SupportWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        return _shown(grant_support(by=self.caller.principal, **wish.validated_data))

    @extend_schema(
        responses={200: SupportAccessSerializer},
        summary="Close it now; an owner's key only",
    )
    def delete(self, request: Request) -> Any:
        revoke_support(by=self.caller.principal)
        return _shown(standing_consent())


def _shown(consent: SupportConsent | None) -> Any:
    names = ("until", "reason", "granted_by", "created_at")
    facts = {name: getattr(consent, name, None) for name in names}
    return SupportAccessSerializer({"open": consent is not None, **facts}).data
