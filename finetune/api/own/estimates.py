"""/api/v1/estimates: what a job would take, before it starts; and of a job that is held."""

from typing import Any

from drf_spectacular.utils import extend_schema
from rest_framework import serializers
from rest_framework.request import Request

from finetune import selectors
from finetune.api.bodies import parse
from finetune.api.own.base import OwnView
from finetune.api.wire.job_create import JobCreate
from finetune.models import Estimate
from finetune.services.estimates import asking
from finetune.services.estimates.figures import STATUSES, told
from tenants import public_ids
from tenants.errors import NotFound
from tenants.roles import Scope

WISH = {
    "type": "object",
    "description": "As the body of `POST /v1/fine_tuning/jobs`.",
    "required": ["model", "training_file"],
    "properties": {"model": {"type": "string"}, "training_file": {"type": "string"}},
    "additionalProperties": True,
}


class EstimatedFileSerializer(serializers.Serializer[Any]):
    """Of all rows, once."""

    use = serializers.ChoiceField(["training", "validation"])
    file = serializers.CharField()
    rows = serializers.IntegerField()
    tokens = serializers.IntegerField()
    trained_tokens = serializers.IntegerField()


class SpreadSerializer(serializers.Serializer[Any]):
    """Of errors' sizes, as shares of what was expected: 0.1 is a tenth."""

    median = serializers.FloatField()
    p90 = serializers.FloatField()


class SpreadsSerializer(serializers.Serializer[Any]):
    seconds = SpreadSerializer(allow_null=True)
    training_seconds = SpreadSerializer(allow_null=True)
    peak_memory_mb = SpreadSerializer(allow_null=True)


class MeasuredSerializer(serializers.Serializer[Any]):
    """Where and when the like was measured last; `off_by`: over the last `jobs` of this kind."""

    place = serializers.CharField()
    at = serializers.DateTimeField()
    jobs = serializers.IntegerField()
    off_by = SpreadsSerializer()


class EstimatedLicenceSerializer(serializers.Serializer[Any]):
    """Trained tokens; null: without limit. `promised`: to other jobs that have not ended."""

    tokens_left = serializers.IntegerField(allow_null=True)
    promised = serializers.IntegerField()
    tokens_left_after = serializers.IntegerField(allow_null=True)
    enough = serializers.BooleanField()


class EstimatedCurveSerializer(serializers.Serializer[Any]):
    """What of the trained tokens and of the seconds the learning curve takes, where one is asked
    for; `rows` of each of its trainings."""

    rows = serializers.ListField(child=serializers.IntegerField())
    trained_tokens = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)


class EstimatedGradingSerializer(serializers.Serializer[Any]):
    """What of the seconds graders beside the training take, where models that judge or Python
    reward the answers. `assumed`: they were not measured."""

    judges = serializers.ListField(child=serializers.CharField())
    answers = serializers.IntegerField()
    seconds = serializers.FloatField(allow_null=True)
    assumed = serializers.BooleanField()


class EstimateErrorSerializer(serializers.Serializer[Any]):
    code = serializers.CharField()
    message = serializers.CharField()
    param = serializers.CharField(allow_null=True)
    where = serializers.CharField(allow_null=True)
    fix = serializers.CharField(allow_null=True)


class EstimateSerializer(serializers.Serializer[Any]):
    """`seconds` is the whole, from a worker's claim to the published model; a wait for a worker is
    not in it. Figures are null until they are known."""

    id = serializers.CharField()
    created_at = serializers.DateTimeField()
    job = serializers.CharField(allow_null=True)
    status = serializers.ChoiceField(STATUSES)
    error = EstimateErrorSerializer(allow_null=True)
    files = EstimatedFileSerializer(many=True)
    hyperparameters = serializers.DictField(allow_null=True)
    trained_tokens_per_epoch = serializers.IntegerField(allow_null=True)
    trained_tokens = serializers.IntegerField(allow_null=True)
    learning_curve = EstimatedCurveSerializer(allow_null=True)
    grading = EstimatedGradingSerializer(allow_null=True)
    steps = serializers.IntegerField(allow_null=True)
    training_seconds = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    peak_memory_mb = serializers.IntegerField(allow_null=True)
    measured = MeasuredSerializer(allow_null=True)
    licence = EstimatedLicenceSerializer(allow_null=True)


class Estimates(OwnView):
    scopes = {"post": Scope.JOBS_WRITE}

    @extend_schema(
        request={"application/json": WISH},
        responses=EstimateSerializer,
        summary="What a job would take: tokens, steps, time, memory, budget; nothing starts",
    )
    def post(self, request: Request) -> Any:
        wish = parse(JobCreate, request._request)
        with wish.named():
            estimate = asking.ask(request=wish.request(), by=self.caller.principal)
        return shown(estimate)


class OneEstimate(OwnView):
    scopes = {"get": Scope.JOBS_READ}

    @extend_schema(responses=EstimateSerializer, summary="An estimate, as far as it is known now")
    def get(self, request: Request, estimate_id: str) -> Any:
        return shown(selectors.find(Estimate.objects.all(), estimate_id))


class JobEstimate(OwnView):
    scopes = {"get": Scope.JOBS_READ}

    @extend_schema(
        responses=EstimateSerializer,
        summary="The estimate of a job that was asked for with `auto_start: false`",
    )
    def get(self, request: Request, job_id: str) -> Any:
        job = selectors.find(selectors.jobs(), job_id)
        estimate = Estimate.objects.filter(job=job).first()
        if estimate is None:
            raise NotFound(
                Estimate.public.missing,
                "There is no estimate of this job.",
                fix="A job has one that was asked for with `auto_start: false`, once its files are "
                "read; what others took stands in their `receipt`.",
            )
        return shown(estimate)


def shown(estimate: Estimate) -> Any:
    job = public_ids.JOB.of(estimate.job_id) if estimate.job_id else None
    facts = {"id": estimate.public_id, "created_at": estimate.created_at, "job": job}
    return EstimateSerializer(facts | told(estimate)).data
