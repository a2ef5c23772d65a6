"""/api/v1/artifacts: what training left, and the signed bundle to take away."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from finetune.api.spans import first_of, span_of
from finetune.api.streams import resumable
from finetune.models import Artifact, Job
from finetune.services.jobs.lineage import Link, chain
from finetune.services.models import artifacts, withholding
from tenants.access import still_allowed
from tenants.roles import Scope


class ArtifactSerializer(serializers.ModelSerializer[Artifact]):
    id = IdField()
    job = ReferenceField(Job, "job_id")
    model = serializers.CharField(source="model_name")
    base_model = serializers.CharField(source="base.name")
    bytes = serializers.IntegerField(source="bundle_bytes")
    sha256 = serializers.CharField(source="bundle_sha256")
    withheld = serializers.BooleanField(
        help_text="Neither answers nor leaves until an evaluation has shown it to be good enough."
    )
    withheld_by = serializers.SerializerMethodField(
        help_text="The evaluations whose gates it has not been shown to reach."
    )
    passport = serializers.JSONField()
    report = serializers.JSONField()

    class Meta:
        model = Artifact
        fields = [
            "id", "job", "model", "base_model", "digest", "adapter_sha256", "bytes", "sha256",
            "withheld", "withheld_by", "passport", "report", "created_at",
        ]  # fmt: skip

    def get_withheld_by(self, artifact: Any) -> list[str]:
        found = withholding.withholding(artifact) if artifact.withheld else ()
        return [each.public_id for each in found]


class Artifacts(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @page_schema(ArtifactSerializer, "The models you made")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(ArtifactSerializer, request, selectors.artifacts())


class OneArtifact(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @extend_schema(responses=ArtifactSerializer, summary="One model with its passport")
    def get(self, request: Request, artifact_id: str) -> Any:
        return ArtifactSerializer(selectors.find(selectors.artifacts(), artifact_id)).data


class Release(OwnView):
    scopes = {"post": Scope.MODELS_WRITE}

    @extend_schema(
        request=None,
        responses=ArtifactSerializer,
        summary="Give a model out that an evaluation withholds",
    )
    def post(self, request: Request, artifact_id: str) -> Any:
        artifact = selectors.find(selectors.artifacts(), artifact_id)
        withholding.release(artifact=artifact, by=self.caller.principal)
        return ArtifactSerializer(selectors.find(selectors.artifacts(), artifact_id)).data


class LinkSerializer(serializers.Serializer[Any]):
    model = serializers.CharField(source="artifact.model_name")
    artifact = ReferenceField(Artifact, "artifact.id")
    deleted = serializers.SerializerMethodField(help_text="Its weights are destroyed.")
    job = ReferenceField(Job, "artifact.job_id")
    method = serializers.CharField(source="artifact.job.method")
    step = serializers.IntegerField(
        allow_null=True, help_text="Of the checkpoint that the next one went on from."
    )
    trained_tokens = serializers.IntegerField(source="artifact.job.trained_tokens")
    start_valid_loss = serializers.SerializerMethodField(help_text="Before it, on its own rows.")
    valid_loss = serializers.SerializerMethodField(help_text="After it, on the same rows.")
    created_at = serializers.DateTimeField(source="artifact.created_at")

    def get_deleted(self, link: Link) -> bool:
        return link.artifact.deleted_at is not None

    def get_start_valid_loss(self, link: Link) -> float | None:
        report = link.artifact.report
        loss: float | None = report.get("start_valid_loss", report.get("base_valid_loss"))
        return loss

    def get_valid_loss(self, link: Link) -> float | None:
        loss: float | None = link.artifact.report.get("valid_loss")
        return loss


class Chain(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @extend_schema(
        responses=inline_serializer("Chain", {"data": LinkSerializer(many=True)}),
        summary="The trainings that made a model, each going on from the one before",
    )
    def get(self, request: Request, artifact_id: str) -> Any:
        artifact = selectors.find(selectors.artifacts(), artifact_id)
        return {"data": LinkSerializer(chain(artifact), many=True).data}


class Bundle(OwnView):
    scopes = {"get": Scope.ARTIFACTS_READ}

    @extend_schema(
        responses={(200, "application/x-tar"): OpenApiTypes.BINARY},
        summary="The signed bundle, as a .tar; `Range` gives a part of it",
    )
    def get(self, request: Request, artifact_id: str) -> HttpResponseBase:
        artifact = selectors.find(selectors.artifacts(), artifact_id)
        principal = self.caller.principal
        size, sha256 = artifact.bundle_bytes, artifact.bundle_sha256
        span = span_of(request._request, size=size, sha256=sha256)

        def still() -> bool:
            may = still_allowed(principal, Scope.ARTIFACTS_READ)
            return may and artifacts.may_export(artifact=artifact)

        return resumable(
            artifacts.open_bundle(artifact=artifact, by=principal, at=first_of(span)),
            span=span,
            still=still,
            filename=f"{artifact.model_name.replace(':', '_')}.tar",
            size=size,
            sha256=sha256,
        )
