"""/api/v1/minings: new files of the same pairs with hard negatives, which an embedding model finds
here."""

from typing import Any

from drf_spectacular.utils import extend_schema, extend_schema_field
from pydantic import Field
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.json_bodies import fit
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from finetune.mining.negatives import MiningOptions
from finetune.models import Mining
from finetune.services.mining import asking
from finetune.services.mining.subjects import MOST_TEXTS
from tenants.models import StoredFile
from tenants.roles import Scope

MOST_NEGATIVES = 100


class MiningSerializer(serializers.ModelSerializer[Mining]):
    id = IdField()
    file = ReferenceField(StoredFile, "file_id")
    corpus = ReferenceField(StoredFile, "corpus_id", allow_null=True)
    result = ReferenceField(StoredFile, "result_id", allow_null=True)
    options = serializers.DictField()
    waits_for = serializers.CharField(source="wait_reason")
    texts_done = serializers.IntegerField(source="done")
    texts_total = serializers.IntegerField(source="total", allow_null=True)
    tokens = serializers.IntegerField(help_text="That were embedded, in all attempts.")
    report = serializers.SerializerMethodField()
    error = KeptErrorField()

    class Meta:
        model = Mining
        fields = [
            "id", "file", "corpus", "result", "model", "options", "state", "waits_for",
            "texts_done", "texts_total", "tokens", "report", "error", "created_at", "started_at",
            "finished_at",
        ]  # fmt: skip

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_report(self, mining: Mining) -> dict[str, Any] | None:
        report: dict[str, Any] | None = mining.report
        return report


class MiningWish(MiningOptions):
    """`corpus`: a file of further documents, rows of `text`. What else it takes, and what comes of
    it, is as of `privatune files mine`; a margin or bound that is null is none."""

    file: str
    model: str = Field(min_length=1, max_length=256)
    corpus: str | None = None
    num_negatives: int = Field(3, ge=1, le=MOST_NEGATIVES)
    range_min: int = Field(0, ge=0, le=MOST_TEXTS)
    range_max: int | None = Field(None, ge=1, le=2 * MOST_TEXTS)

    @property
    def options(self) -> MiningOptions:
        return MiningOptions(**{name: getattr(self, name) for name in MiningOptions.model_fields})


class Minings(OwnView):
    scopes = {"get": Scope.FILES_READ, "post": Scope.FILES_WRITE}

    @page_schema(MiningSerializer, "Minings of hard negatives for your files")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(MiningSerializer, request, Mining.objects.all())

    @extend_schema(
        request=MiningWish,
        responses={200: MiningSerializer},
        summary="Have a new file made, of the same pairs with hard negatives",
    )
    def post(self, request: Request) -> Any:
        body: Any = request.data
        wish = fit(MiningWish, body)
        file = selectors.find(selectors.files(), wish.file, param="file")
        corpus = wish.corpus and selectors.find(selectors.files(), wish.corpus, param="corpus")
        mining = asking.request_mining(
            file=file,
            corpus=corpus or None,
            model=wish.model,
            options=wish.options,
            by=self.caller.principal,
        )
        return MiningSerializer(mining).data


class OneMining(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(responses=MiningSerializer, summary="One mining, and the file that it made")
    def get(self, request: Request, mining_id: str) -> Any:
        return MiningSerializer(selectors.find(Mining.objects.all(), mining_id)).data


class CancelMining(OwnView):
    scopes = {"post": Scope.FILES_WRITE}

    @extend_schema(request=None, responses={200: MiningSerializer}, summary="Stop a mining")
    def post(self, request: Request, mining_id: str) -> Any:
        mining = selectors.find(Mining.objects.select_related("file"), mining_id)
        return MiningSerializer(asking.cancel_mining(mining=mining, by=self.caller.principal)).data
