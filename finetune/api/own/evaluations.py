"""/api/v1/evaluations: a model held to a suite, alone or beside its base, with a plain verdict."""

from typing import Any

from django.http.response import HttpResponseBase
from drf_spectacular.types import OpenApiTypes
from drf_spectacular.utils import (
    OpenApiParameter,
    extend_schema,
    extend_schema_field,
    inline_serializer,
)
from pydantic import BaseModel, ConfigDict, Field
from rest_framework import serializers
from rest_framework.request import Request

from faults import UserFault
from finetune import selectors
from finetune.api.json_bodies import fit
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField, ReferenceField
from finetune.api.own.pages import page_schema, paged
from finetune.api.streams import download
from finetune.api.wire.sampling import Metadata
from finetune.grading.abilities import Gap
from finetune.grading.criteria import EXACT, Criterion, shown
from finetune.grading.gate import Gate
from finetune.models import Evaluation, Job, Suite
from finetune.services.evaluations import lifecycle, reading
from finetune.services.evaluations.abilities import abilities_of
from finetune.services.evaluations.request import (
    MOST_EXAMPLES,
    MOST_SAMPLES,
    EvaluationRequest,
    Reference,
    Sampling,
    Template,
)
from tenants.access import still_allowed
from tenants.models import StoredFile
from tenants.roles import Scope

MOST_CRITERIA = 16


class EvaluationSerializer(serializers.ModelSerializer[Evaluation]):
    id = IdField()
    suite = ReferenceField(Suite, "suite_id")
    file = ReferenceField(StoredFile, "file_id")
    base_model = serializers.CharField(source="base.name")
    job = ReferenceField(Job, "job_id")
    waits_for = serializers.CharField(source="wait_reason")
    answers = serializers.IntegerField(source="done")
    answers_total = serializers.IntegerField(source="total", allow_null=True)
    settings = serializers.JSONField(source="requested")
    criteria = serializers.JSONField(source="suite.criteria")
    report = serializers.JSONField()
    error = KeptErrorField()
    metadata = serializers.JSONField()
    tags = serializers.SerializerMethodField(
        help_text="By side and tag, what its rows scored; only of one evaluation, not in lists."
    )

    class Meta:
        model = Evaluation
        fields = [
            "id", "name", "suite", "file", "model", "base_model", "job", "withholds", "state",
            "waits_for", "answers", "answers_total", "settings", "criteria", "report", "tags",
            "error", "metadata", "created_at", "started_at", "finished_at",
        ]  # fmt: skip

    @extend_schema_field({"type": ["object", "null"], "additionalProperties": True})
    def get_tags(self, evaluation: Evaluation) -> dict[str, Any] | None:
        told: dict[str, Any] | None = self.context.get("tags")
        return told


class EvaluationWish(BaseModel):
    """What `POST /api/v1/evaluations` takes; `suite` or `criteria`, or the rows' own reference.
    `model`: a model, or a job whose result is evaluated once it has ended. With a `gate` the model
    is withheld until the evaluation has shown that it reaches it. With several `samples`, answers
    to each question, the report tells pass@k."""

    model_config = ConfigDict(extra="forbid")

    model: str = Field(min_length=1, max_length=256)
    file: str
    suite: str | None = None
    criteria: list[Criterion] | None = Field(None, min_length=1, max_length=MOST_CRITERIA)
    messages: Template | Reference | None = None
    sampling: Sampling = Sampling()
    beside: bool = True
    examples: int = Field(4, ge=0, le=MOST_EXAMPLES)
    samples: int = Field(1, ge=1, le=MOST_SAMPLES)
    gate: Gate | None = None
    name: str = Field("", max_length=200)
    metadata: Metadata = {}

    def request(self) -> EvaluationRequest:
        return EvaluationRequest(
            model=self.model,
            template=self.messages,
            sampling=self.sampling,
            beside=self.beside,
            examples=self.examples if self.beside else 0,
            samples=self.samples,
            gate=self.gate,
            name=self.name,
            metadata=self.metadata,
        )


class Evaluations(OwnView):
    scopes = {"get": Scope.MODELS_READ, "post": Scope.INFER}

    @page_schema(EvaluationSerializer, "Evaluations of your models")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(EvaluationSerializer, request, selectors.evaluations())

    @extend_schema(
        request=EvaluationWish,
        responses={200: EvaluationSerializer},
        summary="Have a model answer a suite's questions and graded, beside its base",
    )
    def post(self, request: Request) -> Any:
        body: Any = request.data  # an object: PlacedJSONParser takes nothing else
        wish = fit(EvaluationWish, body)
        by = self.caller.principal
        lifecycle.take_turn()
        file = selectors.find(selectors.files().select_for_update(), wish.file, param="file")
        evaluation = lifecycle.create_evaluation(
            suite=_suite(wish, by), file=file, request=wish.request(), by=by
        )
        return EvaluationSerializer(evaluation).data


def _suite(wish: EvaluationWish, by: Any) -> Suite:
    if wish.suite is not None:
        if wish.criteria is not None:
            raise UserFault(
                "invalid_value", "Give `suite` or `criteria`, not both.", param="criteria"
            )
        return selectors.find(Suite.objects.all(), wish.suite, param="suite")
    criteria = [shown(each) for each in wish.criteria or [EXACT]]
    names = ", ".join(each["name"] for each in criteria)[:200]
    return lifecycle.suite_of(criteria=criteria, name=names, by=by)


class OneEvaluation(OwnView):
    scopes = {"get": Scope.MODELS_READ, "delete": Scope.INFER}

    @extend_schema(responses=EvaluationSerializer, summary="One evaluation with its report")
    def get(self, request: Request, evaluation_id: str) -> Any:
        evaluation = selectors.find(selectors.evaluations(), evaluation_id)
        by = self.caller.principal
        readable = Scope.FILES_READ in by.scopes
        tags = reading.tags_of(evaluation=evaluation, by=by) if readable else None
        return EvaluationSerializer(evaluation, context={"tags": tags}).data

    @extend_schema(
        responses={200: OpenApiTypes.OBJECT}, summary="Delete an evaluation and its items"
    )
    def delete(self, request: Request, evaluation_id: str) -> dict[str, Any]:
        evaluation = selectors.find(selectors.evaluations(), evaluation_id)
        told = {"id": evaluation.public_id, "deleted": True}
        lifecycle.delete_evaluation(evaluation=evaluation, by=self.caller.principal)
        return told


class CancelEvaluation(OwnView):
    scopes = {"post": Scope.INFER}

    @extend_schema(
        request=None, responses={200: EvaluationSerializer}, summary="Stop an evaluation"
    )
    def post(self, request: Request, evaluation_id: str) -> Any:
        evaluation = selectors.find(selectors.evaluations(), evaluation_id)
        by = self.caller.principal
        return EvaluationSerializer(lifecycle.cancel_evaluation(evaluation=evaluation, by=by)).data


class EvaluationItems(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(
        responses={(200, "application/jsonl"): OpenApiTypes.BINARY},
        summary="What was asked, answered and how it was graded, one JSON object a row",
    )
    def get(self, request: Request, evaluation_id: str) -> HttpResponseBase:
        evaluation = selectors.find(selectors.evaluations(), evaluation_id)
        principal = self.caller.principal
        return download(
            reading.open_items(evaluation=evaluation, by=principal),
            still=lambda: still_allowed(principal, Scope.FILES_READ),
            filename=f"items-{evaluation.id.hex[:8]}.jsonl",
            content_type="application/jsonl",
        )


class AbilitySerializer(serializers.Serializer[Any]):
    """`asked`: questions with the tag; `rows`: training rows with it, null: not counted."""

    tag = serializers.CharField()
    asked = serializers.IntegerField()
    score = serializers.FloatField(allow_null=True)
    interval = serializers.ListField(child=serializers.FloatField(), allow_null=True)
    base = serializers.FloatField(allow_null=True, help_text="The base's score.")
    rows = serializers.IntegerField(allow_null=True)
    gap = serializers.CharField(help_text=", ".join(each.value for each in Gap if each))


ABILITIES = inline_serializer(
    "Abilities",
    {
        "evaluation": serializers.CharField(),
        "training_file": serializers.CharField(allow_null=True),
        "profile": serializers.CharField(allow_null=True),
        "data": AbilitySerializer(many=True),
    },
)


class EvaluationAbilities(OwnView):
    scopes = {"get": Scope.FILES_READ}

    @extend_schema(
        responses=ABILITIES,
        summary="By tag, what the model scores and how many training rows have it",
    )
    def get(self, request: Request, evaluation_id: str) -> dict[str, Any]:
        evaluation = selectors.find(selectors.evaluations(), evaluation_id)
        found = abilities_of(evaluation=evaluation, by=self.caller.principal)
        return {
            "evaluation": evaluation.public_id,
            "training_file": found.file and found.file.public_id,
            "profile": found.profile and found.profile.public_id,
            "data": AbilitySerializer(found.abilities, many=True).data,
        }


class EvaluationComparison(OwnView):
    scopes = {"get": Scope.MODELS_READ}

    @extend_schema(
        parameters=[
            OpenApiParameter("with", str, required=True, description="Id of the second evaluation.")
        ],
        responses={200: OpenApiTypes.OBJECT},
        summary="Another model's scores on the same rows minus this one's, with interval and p",
    )
    def get(self, request: Request, evaluation_id: str) -> Any:
        first = selectors.find(selectors.evaluations(), evaluation_id)
        other = request.query_params.get("with", "")
        second = selectors.find(selectors.evaluations(), other, param="with")
        return reading.compare(first=first, second=second)
