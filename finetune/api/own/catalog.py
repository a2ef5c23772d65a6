"""/api/v1/catalog: the base models on the shelf, and for which the tenant holds a licence."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.models import CatalogModel
from finetune.packaging.passport import hub_place
from finetune.services.models.gateway import no_such_model
from tenants.models import License, LicenseState
from tenants.roles import Scope


class CatalogModelSerializer(serializers.ModelSerializer[CatalogModel]):
    """Where a base comes from is told if that is public; the operator's own path never is."""

    hub_id = serializers.SerializerMethodField()
    revision = serializers.SerializerMethodField()
    licence_held = serializers.SerializerMethodField()

    class Meta:
        model = CatalogModel
        fields = [
            "name", "family", "task", "edition", "digest", "architecture", "parameters",
            "context_length", "infilling", "bytes", "licence", "hub_id", "revision", "terms",
            "created_at", "licence_held",
        ]  # fmt: skip

    def get_hub_id(self, model: CatalogModel) -> str | None:
        return hub_place(model.source).get("hub_id")

    def get_revision(self, model: CatalogModel) -> str | None:
        return hub_place(model.source).get("revision")

    def get_licence_held(self, model: CatalogModel) -> bool:
        active = License.objects.filter(model=model.name, state=LicenseState.ACTIVE)
        return active.exists()


class Catalog(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @extend_schema(
        responses=CatalogModelSerializer(many=True),
        summary="Base models that a licence can be held for",
    )
    def get(self, request: Request) -> Any:
        return CatalogModelSerializer(selectors.catalogue(), many=True).data


class OneCatalogModel(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @extend_schema(responses=CatalogModelSerializer, summary="One base model")
    def get(self, request: Request, name: str) -> Any:
        found = selectors.catalogue().filter(name=name).first()
        if found is None:
            raise no_such_model(None)
        return CatalogModelSerializer(found).data
