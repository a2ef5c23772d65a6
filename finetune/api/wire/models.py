"""/v1/models: the base models that the tenant is licensed for, and its own fine-tuned ones."""

from typing import Any

from django.http import HttpRequest

from finetune import selectors
from finetune.api.bodies import query
from finetune.api.wire.base import WireView
from finetune.api.wire.pages import created
from finetune.models import Artifact, CatalogModel
from finetune.services.models import artifacts, gateway
from tenants.errors import Refused
from tenants.models import License, LicenseState
from tenants.roles import Scope


def base_object(base: CatalogModel) -> dict[str, Any]:
    return {"id": base.name, "object": "model", "created": created(base), "owned_by": "privatune"}


def tuned_object(artifact: Artifact) -> dict[str, Any]:
    owner = artifact.model_name.split(":")[2]
    return {
        "id": artifact.model_name,
        "object": "model",
        "created": created(artifact),
        "owned_by": owner,
    }


class Models(WireView):
    scopes = {"get": Scope.MODELS_READ}

    def get(self, request: HttpRequest) -> dict[str, Any]:
        query(request, frozenset())
        licensed = License.objects.filter(state=LicenseState.ACTIVE).values_list("model", flat=True)
        bases = selectors.catalogue().filter(name__in=list(licensed)).order_by("name")
        tuned = selectors.artifacts().order_by("-created_at", "-id")
        data = [base_object(base) for base in bases] + [tuned_object(each) for each in tuned]
        return {"object": "list", "data": data}


class OneModel(WireView):
    scopes = {"get": Scope.MODELS_READ, "delete": Scope.MODELS_WRITE}

    def get(self, request: HttpRequest, model: str) -> dict[str, Any]:
        found = gateway.find_model(name=model, param=None)
        return tuned_object(found) if isinstance(found, Artifact) else base_object(found)

    def delete(self, request: HttpRequest, model: str) -> dict[str, Any]:
        found = gateway.find_model(name=model, param=None)
        if not isinstance(found, Artifact):
            raise Refused(
                "base_model_not_deletable",
                "A base model belongs to the operator's catalogue.",
                fix="Delete models that you fine-tuned; their names begin with `ft:`.",
            )
        artifacts.delete_model(name=model, actor=self.caller.actor)
        return {"id": model, "object": "model", "deleted": True}
