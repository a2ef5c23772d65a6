"""/api/v1/pipelines: stages of training in a row, each on the result of the one before."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from uuid import UUID

from drf_spectacular.utils import extend_schema
from pydantic import BaseModel, ConfigDict, Field, PrivateAttr
from rest_framework import serializers
from rest_framework.request import Request

from faults import UserFault
from finetune import selectors
from finetune.api.json_bodies import fit
from finetune.api.own.base import OwnView
from finetune.api.own.fields import IdField, KeptErrorField
from finetune.api.own.pages import page_schema, paged
from finetune.api.wire.job_create import JobCreate
from finetune.api.wire.sampling import Metadata
from finetune.models import Pipeline
from finetune.services.pipelines import lifecycle
from finetune.services.pipelines.request import (
    FEWEST,
    MOST,
    OF_ALL,
    Gate,
    PipelineRequest,
    StageRequest,
    placed,
)
from finetune.services.pipelines.told import STATUSES, status_of, told
from tenants.roles import Scope

NOT_OF_STAGES = OF_ALL | {"metadata", "auto_start"}
WISH = {
    "type": "object",
    "description": "`model`, `adapter`, `suffix`, `seed` and `keep_optimizer` as of a job; a stage "
    "has the other fields of `POST /v1/fine_tuning/jobs`, and its gate.",
    "required": ["model", "stages"],
    "properties": {
        "model": {"type": "string"},
        "name": {"type": "string"},
        "adapter": {"type": "object"},
        "suffix": {"type": "string"},
        "seed": {"type": "integer"},
        "keep_optimizer": {"type": "boolean"},
        "metadata": {"type": "object"},
        "auto_start": {"type": "boolean"},
        "stages": {
            "type": "array",
            "minItems": FEWEST,
            "maxItems": MOST,
            "items": {
                "type": "object",
                "required": ["training_file"],
                "properties": {
                    "training_file": {"type": "string"},
                    "gate": {"enum": ["none", "better", "approval"]},
                },
                "additionalProperties": True,
            },
        },
    },
}


class StageWish(JobCreate):
    """A job's body, with the gate after it."""

    gate: Gate = "none"


class PipelineWish(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)

    model: str
    stages: list[dict[str, Any]] = Field(min_length=FEWEST, max_length=MOST)
    name: str = Field("", max_length=200)
    adapter: dict[str, Any] | None = None
    suffix: str | None = None
    seed: int | None = None
    keep_optimizer: bool = False
    metadata: Metadata = {}
    auto_start: bool = True

    _wishes: list[StageWish] = PrivateAttr(default_factory=list)

    def request(self) -> PipelineRequest:
        """Raises UserFault with the field, of a stage as `stages.0.…`; NotFound."""
        shared = self.model_dump(include=set(OF_ALL), exclude_none=True)
        self._wishes = [_wish(each, number, shared) for number, each in enumerate(self.stages, 1)]
        return PipelineRequest(
            stages=tuple(_asked(each, number) for number, each in enumerate(self._wishes, 1)),
            name=self.name,
            metadata=self.metadata,
            auto_start=self.auto_start,
        )

    @contextmanager
    def named(self) -> Iterator[None]:
        """A fault of the request that is raised inside names a stage's field as it was sent."""
        try:
            yield
        except UserFault as fault:
            stages, _, rest = (fault.param or "").partition(".")
            place, _, name = rest.partition(".")
            if stages == "stages" and place.isdecimal() and name:
                fault.param = f"stages.{place}.{self._wishes[int(place)].field_of(name)}"
            raise


def _wish(body: dict[str, Any], number: int, shared: dict[str, Any]) -> StageWish:
    """What holds for all stages is not asked of one."""
    try:
        if taken := sorted(body.keys() & NOT_OF_STAGES):
            raise UserFault(
                "unsupported_parameter",
                f"`{taken[0]}` is the whole pipeline's.",
                fix="Give it beside `stages`.",
                param=taken[0],
            )
        return fit(StageWish, body | shared)
    except UserFault as fault:
        raise placed(fault, number) from fault


def _asked(wish: StageWish, number: int) -> StageRequest:
    try:
        with wish.named():
            return StageRequest(job=wish.request(), gate=wish.gate)
    except UserFault as fault:
        raise placed(fault, number) from fault


class StageFiguresSerializer(serializers.Serializer[Any]):
    """Expected of a stage, or of all; null: not known (yet). The memory is the largest."""

    trained_tokens = serializers.IntegerField(allow_null=True)
    steps = serializers.IntegerField(allow_null=True)
    training_seconds = serializers.FloatField(allow_null=True)
    seconds = serializers.FloatField(allow_null=True)
    peak_memory_mb = serializers.IntegerField(allow_null=True)


class PipelineLicenceSerializer(serializers.Serializer[Any]):
    """Trained tokens. `reserved`: for all stages of this one, once their files are read; `promised`
    in all, this one's to come among them; null: without limit, or not known yet."""

    tokens_left = serializers.IntegerField(allow_null=True)
    reserved = serializers.IntegerField(allow_null=True)
    promised = serializers.IntegerField()


class PipelineEstimateSerializer(StageFiguresSerializer):
    licence = PipelineLicenceSerializer()


class StageSerializer(serializers.Serializer[Any]):
    """`status`: of its job, or `waiting` while there is none. `judges`: the models that score in
    its grader. The losses are over the stage's own validation rows."""

    number = serializers.IntegerField()
    method = serializers.CharField()
    judges = serializers.ListField(child=serializers.CharField())
    gate = serializers.ChoiceField(["none", "better", "approval"])
    training_file = serializers.CharField()
    validation_file = serializers.CharField(allow_null=True)
    status = serializers.CharField()
    job = serializers.CharField(allow_null=True)
    fine_tuned_model = serializers.CharField(allow_null=True)
    start_valid_loss = serializers.FloatField(allow_null=True)
    valid_loss = serializers.FloatField(allow_null=True)
    approved_at = serializers.DateTimeField(allow_null=True)
    approved_by = serializers.CharField(allow_null=True)
    expected = StageFiguresSerializer(allow_null=True)


class PipelineSerializer(serializers.ModelSerializer[Pipeline]):
    id = IdField()
    base_model = serializers.CharField(source="base.name")
    status = serializers.SerializerMethodField()
    waits_for = serializers.CharField(source="wait_reason")
    error = KeptErrorField()
    metadata = serializers.JSONField()

    class Meta:
        model = Pipeline
        fields = [
            "id", "name", "model", "base_model", "status", "waits_for", "error", "metadata",
            "created_at", "finished_at",
        ]  # fmt: skip

    @extend_schema(responses=serializers.ChoiceField(STATUSES))
    def get_status(self, pipeline: Pipeline) -> str:
        return status_of(pipeline)


class WholePipelineSerializer(PipelineSerializer):
    """With its stages, and what they take."""

    stages = StageSerializer(many=True)
    estimate = PipelineEstimateSerializer()
    fine_tuned_model = serializers.CharField(allow_null=True)

    class Meta(PipelineSerializer.Meta):
        fields = [*PipelineSerializer.Meta.fields, "stages", "estimate", "fine_tuned_model"]

    def to_representation(self, pipeline: Pipeline) -> dict[str, Any]:
        return PipelineSerializer(pipeline).data | told(pipeline)


class Pipelines(OwnView):
    scopes = {"get": Scope.JOBS_READ, "post": Scope.JOBS_WRITE}

    @page_schema(PipelineSerializer, "Your pipelines")
    def get(self, request: Request) -> dict[str, Any]:
        return paged(PipelineSerializer, request, selectors.pipelines())

    @extend_schema(
        request={"application/json": WISH},
        responses={200: WholePipelineSerializer},
        summary="Train in stages, each on the result of the one before",
    )
    def post(self, request: Request) -> Any:
        body: Any = request.data  # an object: PlacedJSONParser takes nothing else
        wish = fit(PipelineWish, body)
        asked = wish.request()
        with wish.named():
            pipeline = lifecycle.create_pipeline(request=asked, by=self.caller.principal)
        return WholePipelineSerializer(pipeline).data


class OnePipeline(OwnView):
    scopes = {"get": Scope.JOBS_READ}

    @extend_schema(
        responses=WholePipelineSerializer, summary="One pipeline: its stages and what they take"
    )
    def get(self, request: Request, pipeline_id: str) -> Any:
        return WholePipelineSerializer(selectors.find(selectors.pipelines(), pipeline_id)).data


class _Verb(OwnView):
    scopes = {"post": Scope.JOBS_WRITE}
    act: Any

    def post(self, request: Request, pipeline_id: str) -> Any:
        found = selectors.find(selectors.pipelines(), pipeline_id)
        return WholePipelineSerializer(self.acted(found.id)).data

    def acted(self, pipeline_id: UUID) -> Pipeline:
        found: Pipeline = type(self).act(pipeline_id=pipeline_id, actor=self.caller.actor)
        return found


def _verb(summary: str) -> Any:
    return extend_schema(
        request=None, responses={200: WholePipelineSerializer}, summary=summary, methods=["POST"]
    )


@_verb("Stop a pipeline with the job that is under way; results stay")
class CancelPipeline(_Verb):
    act = staticmethod(lifecycle.cancel_pipeline)


@_verb("Pause a pipeline: a job stops at its next checkpoint, no other begins")
class PausePipeline(_Verb):
    act = staticmethod(lifecycle.pause_pipeline)


@_verb("Go on with a paused pipeline, or start one that is held")
class ResumePipeline(_Verb):
    act = staticmethod(lifecycle.resume_pipeline)


@_verb("Say yes to the stage that waits for it")
class ApprovePipeline(_Verb):
    act = staticmethod(lifecycle.approve_pipeline)


@_verb("Try a failed pipeline again from the stage that ended it")
class RetryPipeline(_Verb):
    def acted(self, pipeline_id: UUID) -> Pipeline:
        return lifecycle.retry_pipeline(pipeline_id=pipeline_id, by=self.caller.principal)
