"""/api/v1/datasets: what the check of a file found, and every problem row as a file."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import extend_schema, extend_schema_field
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api import words
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField, ReferenceField, TextField
from finetune.api.own.pages import page_schema, paged
from finetune.api.streams import download
from finetune.models import Dataset
from finetune.records.check.columns import LONGEST_NAME
from finetune.services.files import datasets
from finetune.services.files.columns import map_columns
from tenants.access import still_allowed
from tenants.errors import Invalid, NotFound
from tenants.models import StoredFile
from tenants.roles import Scope


class DatasetSerializer(serializers.ModelSerializer[Dataset]):
    """`model` null: structure only, as checked right after the upload. Its context holds
    `reports`, by id: reading one is an act, which the view does in the caller's name."""

    id = IdField()
    file = ReferenceField(StoredFile, "file_id")
    model = serializers.CharField(source="base.name", default=None, allow_null=True)
    report = serializers.SerializerMethodField()
    error = KeptErrorField(allow_null=True)

    class Meta:
        model = Dataset
        fields = [
            "id", "file", "model", "state", "format", "max_length", "overflow", "thinking",
            "columns", "rows",
            "tokens_trained", "rows_sha256", "report", "error", "created_at",
        ]  # fmt: skip

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_report(self, dataset: Dataset) -> dict[str, Any] | None:
        return words.report(self.context["reports"][dataset.id])


class DatasetWishSerializer(serializers.Serializer[Any]):
    file = TextField(max_length=64)
    columns = serializers.DictField(
        child=TextField(max_length=LONGEST_NAME),
        help_text="Field of a format to what the file calls it; empty: as it calls them itself.",
    )

    def to_internal_value(self, data: Any) -> Any:
        if unknown := sorted(set(data) - set(self.fields)):
            raise Invalid(
                "unknown_parameter",
                f"There is no parameter `{unknown[0][:64]}`.",
                fix=f"There are: {', '.join(self.fields)}.",
                param=unknown[0][:64],
            )
        return super().to_internal_value(data)


class Datasets(OwnView):
    scopes = {"get": Scope.FILES_READ, "post": Scope.FILES_WRITE}

    @page_schema(DatasetSerializer, "Readings of your files")
    def get(self, request: Request) -> dict[str, Any]:
        by = self.caller.principal
        return paged(
            DatasetSerializer,
            request,
            Dataset.objects.select_related("base", "file"),
            context=lambda rows: {"reports": datasets.full_reports(rows, by=by)},
        )

    @extend_schema(
        request=DatasetWishSerializer,
        responses={200: DatasetSerializer},
        summary="Have a file read with other names for its columns, from now on",
    )
    def post(self, request: Request) -> Any:
        wish = DatasetWishSerializer(data=request.data)
        wish.is_valid(raise_exception=True)
        file = selectors.find(selectors.files(), wish.validated_data["file"], param="file")
        columns = wish.validated_data["columns"]
        dataset = map_columns(file=file, columns=columns, actor=self.caller.actor)
        return DatasetSerializer(dataset, context={"reports": {dataset.id: None}}).data


class OneDataset(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(responses=DatasetSerializer, summary="One reading with its report")
    def get(self, request: Request, dataset_id: str) -> Any:
        dataset = selectors.find(Dataset.objects.all(), dataset_id)
        reports = {dataset.id: datasets.full_report(dataset, by=self.caller.principal)}
        return DatasetSerializer(dataset, context={"reports": reports}).data


class DatasetErrors(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(
        responses={(200, "application/jsonl"): OpenApiTypes.BINARY},
        summary="Every listed problem, one JSON object a line",
    )
    def get(self, request: Request, dataset_id: str) -> HttpResponseBase:
        dataset = selectors.find(Dataset.objects.all(), dataset_id)
        principal = self.caller.principal
        stream = datasets.open_errors(dataset, by=principal)
        if stream is None:
            raise NotFound(
                "no_errors_file",
                "There is no list of problems for this reading.",
                fix="It is written when the check ends; a deleted file has none any more.",
            )
        return download(
            stream,
            still=lambda: still_allowed(principal, Scope.FILES_READ),
            filename=f"problems-{dataset.id.hex[:8]}.jsonl",
            content_type="application/jsonl",
        )
