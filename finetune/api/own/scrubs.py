"""/api/v1/scrubs: new files with what is personal or secret under a mask, and what was changed."""

from typing import Any

from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    inline_serializer,
)
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.bodies import query
from finetune.api.json_bodies import fit
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from finetune.api.paging import whole_number
from finetune.models import Scrub
from finetune.profiling.personal import Kind
from finetune.services.files import scrubbing
from tenants.models import StoredFile
from tenants.roles import Scope

MOST_ROWS = 10**12


class ScrubSerializer(serializers.ModelSerializer[Scrub]):
    id = IdField()
    file = ReferenceField(StoredFile, "file_id")
    result = ReferenceField(StoredFile, "result_id", allow_null=True)
    kinds = serializers.ListField(child=serializers.CharField())
    waits_for = serializers.CharField(source="wait_reason")
    rows_done = serializers.IntegerField(source="done")
    rows_total = serializers.IntegerField(source="total", allow_null=True)
    report = serializers.SerializerMethodField()
    error = KeptErrorField()

    class Meta:
        model = Scrub
        fields = [
            "id", "file", "result", "kinds", "state", "waits_for", "rows_done", "rows_total",
            "report", "error", "created_at", "started_at", "finished_at",
        ]  # fmt: skip

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_report(self, scrub: Scrub) -> dict[str, Any] | None:
        report: dict[str, Any] | None = scrub.report
        return report


class MaskSerializer(serializers.Serializer[Any]):
    """Characters of `before`, from `start` to `end`, the last excluded."""

    start = serializers.IntegerField()
    end = serializers.IntegerField()
    kind = serializers.ChoiceField([each.value for each in Kind])


class ChangeSerializer(serializers.Serializer[Any]):
    field = serializers.CharField()
    before = serializers.CharField(trim_whitespace=False)
    after = serializers.CharField(trim_whitespace=False)
    masks = MaskSerializer(many=True)


class ChangedRowSerializer(serializers.Serializer[Any]):
    row = serializers.IntegerField()
    changes = ChangeSerializer(many=True, allow_null=True, help_text="Null: too large to show.")


CHANGED = inline_serializer(
    "ChangedRows",
    {"data": ChangedRowSerializer(many=True), "has_more": serializers.BooleanField()},
)


class ScrubWish(BaseModel):
    model_config = ConfigDict(extra="forbid")

    file: str
    kinds: list[Kind] = Field(list(Kind), min_length=1)


class Scrubs(OwnView):
    scopes = {"get": Scope.FILES_READ, "post": Scope.FILES_WRITE}

    @page_schema(ScrubSerializer, "Scrubs of your files")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(ScrubSerializer, request, Scrub.objects.all())

    @extend_schema(
        request=ScrubWish,
        responses={200: ScrubSerializer},
        summary="Have a new file made, with what is personal or secret masked",
    )
    def post(self, request: Request) -> Any:
        body: Any = request.data
        wish = fit(ScrubWish, body)
        file = selectors.find(selectors.files(), wish.file, param="file")
        scrub = scrubbing.request_scrub(file=file, kinds=wish.kinds, by=self.caller.principal)
        return ScrubSerializer(scrub).data


class OneScrub(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(responses=ScrubSerializer, summary="One scrub, and the file that it made")
    def get(self, request: Request, scrub_id: str) -> Any:
        return ScrubSerializer(selectors.find(Scrub.objects.all(), scrub_id)).data


CHANGES = [
    OpenApiParameter("after", {"type": "integer", "minimum": 0}, description="Number of a row."),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": 100, "default": 20},
        description="Rows on a page.",
    ),
]


def _page(request: Request) -> tuple[int, int]:
    """(after, limit). Raises UserFault."""
    asked = query(request._request, frozenset(each.name for each in CHANGES))
    after = whole_number(asked.get("after", "0"), "after", least=0, most=MOST_ROWS)
    return after, whole_number(asked.get("limit", "20"), "limit", least=1, most=100)


class ScrubChanges(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(
        parameters=CHANGES,
        responses=CHANGED,
        summary="Rows as they were and as they are, of those that were changed",
    )
    def get(self, request: Request, scrub_id: str) -> Any:
        scrub = selectors.find(Scrub.objects.select_related("file"), scrub_id)
        after, limit = _page(request)
        rows = scrubbing.changed_rows(
            scrub=scrub, after=after, limit=limit + 1, by=self.caller.principal
        )
        shown = ChangedRowSerializer(rows[:limit], many=True).data
        return {"data": shown, "has_more": len(rows) > limit}
