"""/api/v1/profiles: what is in a file's rows: repetitions, questions that are held out, lengths,
scripts, personal data and secrets."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from pydantic import BaseModel, ConfigDict
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.json_bodies import fit
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from finetune.api.streams import download
from finetune.models import Profile
from finetune.services.files import profiling
from tenants.access import still_allowed
from tenants.models import StoredFile
from tenants.roles import Scope


class ProfileSerializer(serializers.ModelSerializer[Profile]):
    id = IdField()
    file = ReferenceField(StoredFile, "file_id")
    against = ReferenceField(StoredFile, "against_id", allow_null=True)
    waits_for = serializers.CharField(source="wait_reason")
    rows_done = serializers.IntegerField(source="done")
    rows_total = serializers.IntegerField(source="total", allow_null=True)
    report = serializers.SerializerMethodField(
        help_text="Figures; null until it has succeeded. Rows are those that can be used, from 1."
    )
    error = KeptErrorField()

    class Meta:
        model = Profile
        fields = [
            "id", "file", "against", "state", "waits_for", "rows_done", "rows_total", "report",
            "error", "created_at", "started_at", "finished_at",
        ]  # fmt: skip

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_report(self, profile: Profile) -> dict[str, Any] | None:
        report: dict[str, Any] | None = profile.report
        return report


class ProfileWish(BaseModel):
    """`against`: the file of what is held out: rows of a validation file, or of an evaluation's."""

    model_config = ConfigDict(extra="forbid")

    file: str
    against: str | None = None


class Profiles(OwnView):
    scopes = {"get": Scope.FILES_READ, "post": Scope.FILES_WRITE}

    @page_schema(ProfileSerializer, "Profiles of your files")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(ProfileSerializer, request, Profile.objects.all())

    @extend_schema(
        request=ProfileWish,
        responses={200: ProfileSerializer},
        summary="Have a file's rows seen through; the same wish again gives the same profile",
    )
    def post(self, request: Request) -> Any:
        body: Any = request.data
        wish = fit(ProfileWish, body)
        file = selectors.find(selectors.files(), wish.file, param="file")
        against = None
        if wish.against is not None:
            against = selectors.find(selectors.files(), wish.against, param="against")
        profile = profiling.request_profile(file=file, against=against, by=self.caller.principal)
        return ProfileSerializer(profile).data


class OneProfile(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(responses=ProfileSerializer, summary="One profile, as far as it is")
    def get(self, request: Request, profile_id: str) -> Any:
        return ProfileSerializer(selectors.find(Profile.objects.all(), profile_id)).data


class ProfileFindings(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(
        responses={(200, "application/jsonl"): OpenApiTypes.BINARY},
        summary="Every listed finding by its row and place, one JSON object a line; quotes nothing",
    )
    def get(self, request: Request, profile_id: str) -> HttpResponseBase:
        profile = selectors.find(Profile.objects.select_related("file"), profile_id)
        principal = self.caller.principal
        return download(
            profiling.open_findings(profile=profile, by=principal),
            still=lambda: still_allowed(principal, Scope.FILES_READ),
            filename=f"findings-{profile.id.hex[:8]}.jsonl",
            content_type="application/jsonl",
        )
