"""/api/v1/forms: a model merged into its base, or as GGUF, made on request, for who may have the
base."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from pydantic import BaseModel, ConfigDict
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.json_bodies import fit
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField, ReferenceField
from finetune.api.spans import first_of, span_of
from finetune.api.streams import resumable
from finetune.models import Artifact, Form
from finetune.packaging.forms import FormName
from finetune.services.forms import asking, leaving
from tenants.access import still_allowed
from tenants.roles import Scope


class FormSerializer(serializers.ModelSerializer[Form]):
    id = IdField()
    artifact = ReferenceField(Artifact, "artifact_id")
    model = serializers.CharField(source="artifact.model_name")
    waits_for = serializers.CharField(source="wait_reason")
    bytes_done = serializers.IntegerField(source="done")
    bytes_total = serializers.IntegerField(source="total", allow_null=True)
    digest = serializers.CharField(help_text="Of its manifest; empty until it has succeeded.")
    info = serializers.DictField(
        allow_null=True,
        help_text="form.json: types, and how it compares with base and adapter.",
    )
    error = KeptErrorField()

    class Meta:
        model = Form
        fields = [
            "id", "artifact", "model", "form", "state", "waits_for", "bytes_done", "bytes_total",
            "bytes", "sha256", "digest", "info", "error", "created_at", "started_at", "finished_at",
        ]  # fmt: skip


class FormWish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    form: FormName


class Forms(OwnView):
    scopes = {"get": Scope.MODELS_READ, "post": Scope.ARTIFACTS_READ}

    @extend_schema(
        responses=inline_serializer("Forms", {"data": FormSerializer(many=True)}),
        summary="The forms of a model that were asked for",
    )
    def get(self, request: Request, artifact_id: str) -> Any:
        artifact = selectors.find(selectors.artifacts(), artifact_id)
        return {"data": FormSerializer(selectors.forms().filter(artifact=artifact), many=True).data}

    @extend_schema(
        request=FormWish,
        responses={200: FormSerializer},
        summary="Have a form of a model made; the same wish again gives the same form",
    )
    def post(self, request: Request, artifact_id: str) -> Any:
        body: Any = request.data
        artifact = selectors.find(selectors.artifacts(), artifact_id)
        wish = fit(FormWish, body)
        made = asking.request_form(artifact=artifact, form=wish.form, by=self.caller.principal)
        return FormSerializer(made).data


class OneForm(OwnView):
    scopes = {"get": Scope.MODELS_READ, "delete": Scope.MODELS_WRITE}

    @extend_schema(responses=FormSerializer, summary="One form, as far as it is")
    def get(self, request: Request, form_id: str) -> Any:
        return FormSerializer(selectors.find(selectors.forms(), form_id)).data

    @extend_schema(
        responses=inline_serializer(
            "FormDeleted", {"id": serializers.CharField(), "deleted": serializers.BooleanField()}
        ),
        summary="Delete a form with its bytes; the model stays",
    )
    def delete(self, request: Request, form_id: str) -> dict[str, Any]:
        form = selectors.find(selectors.forms(), form_id)
        told = {"id": form.public_id, "deleted": True}
        asking.delete_form(form=form, by=self.caller.principal)
        return told


class CancelForm(OwnView):
    scopes = {"post": Scope.ARTIFACTS_READ}

    @extend_schema(request=None, responses={200: FormSerializer}, summary="Stop making a form")
    def post(self, request: Request, form_id: str) -> Any:
        form = selectors.find(selectors.forms(), form_id)
        return FormSerializer(asking.cancel_form(form=form, by=self.caller.principal)).data


class FormContent(OwnView):
    scopes = {"get": Scope.ARTIFACTS_READ}

    @extend_schema(
        responses={(200, "application/x-tar"): OpenApiTypes.BINARY},
        summary="The signed form, as a .tar; `Range` gives a part of it",
    )
    def get(self, request: Request, form_id: str) -> HttpResponseBase:
        form = selectors.find(selectors.forms(), form_id)
        principal = self.caller.principal
        leaving.require_out(form=form, by=principal)
        span = span_of(request._request, size=form.bytes, sha256=form.sha256)

        def still() -> bool:
            may = still_allowed(principal, Scope.ARTIFACTS_READ)
            return may and leaving.may_leave(form=form)

        return resumable(
            leaving.open_form(form=form, by=principal, at=first_of(span)),
            span=span,
            still=still,
            filename=f"{form.artifact.model_name.replace(':', '_')}-{form.form}.tar",
            size=form.bytes,
            sha256=form.sha256,
        )
