"""/api/v1/signing-key: the public key that the operator's artifacts are signed for."""

from typing import Any

from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from finetune.api.own.base import OwnView
from finetune.services.models import artifacts
from tenants.roles import Scope

SHAPE = inline_serializer("SigningKey", {"public_key_pem": serializers.CharField()})


class SigningKey(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @extend_schema(responses=SHAPE, summary="The key to verify bundles with, as PEM (P-256)")
    def get(self, request: Request) -> dict[str, Any]:
        return {"public_key_pem": artifacts.public_key_pem()}
