"""A pipeline as it can be told at this moment, from the rows alone."""

from collections.abc import Mapping
from typing import Any
from uuid import UUID

from finetune import selectors
from finetune.events import StageOfPipeline
from finetune.models import Artifact, Event, Job, Pipeline, Stage
from finetune.services.jobs.judges import judges_asked
from finetune.services.models.graders import Judge
from finetune.services.pipelines.figures import expected_of, total_of
from finetune.services.pipelines.position import At, position, stages_of
from finetune.states import LIVE_LEASES, JobState

AWAITING = "awaiting_approval"
WAITING = "waiting"  # of a stage without a job
STATUSES = (
    "preparing", "running", "paused", AWAITING, "succeeded", "failed", "cancelled",
)  # fmt: skip


def status_of(pipeline: Pipeline) -> str:
    """One of STATUSES. In the open scope."""
    if pipeline.state not in LIVE_LEASES:
        return str(pipeline.state)
    found = position(pipeline)
    if found.at == At.AWAITING:
        return AWAITING
    job = found.stage.job if found.stage else None
    if found.at == At.HELD or (job is not None and job.state == JobState.PAUSED):
        return "paused"
    return "preparing" if found.at == At.PREPARING else "running"


def told(pipeline: Pipeline) -> dict[str, Any]:
    """Its stages, their sum, and the name of what the last one made."""
    stages = stages_of(pipeline)
    results = selectors.results_of([stage.job for stage in stages if stage.job is not None])
    expected = [expected_of(pipeline, stage) for stage in stages]
    shown = [
        _stage(stage, results, figures) for stage, figures in zip(stages, expected, strict=True)
    ]
    return {
        "stages": shown,
        "estimate": total_of(pipeline, expected),
        "fine_tuned_model": shown[-1]["fine_tuned_model"],
    }


def stage_of(job: Job) -> dict[str, Any] | None:
    """The pipeline that the job was made by, and its place there, as its history tells: a stage
    that is tried again has another job. In the open scope."""
    event = Event.objects.filter(job=job, code=StageOfPipeline.code).first()
    if event is None:
        return None
    said = StageOfPipeline.model_validate(event.data)
    return {"id": said.pipeline, "stage": said.number, "stages": said.of}


def judges_in(stage: Stage) -> list[Judge]:
    """The models that judge in it; before it begins one that a stage has to make is `stage:3`."""
    asked = stage.job.requested if stage.job is not None else stage.request
    return judges_asked(asked.get("grader"))


def _stage(
    stage: Stage, results: Mapping[UUID, Artifact], expected: dict[str, Any]
) -> dict[str, Any]:
    job, held_out = stage.job, stage.validation_file
    result = results.get(job.id) if job is not None else None
    report = result.report if result is not None else {}
    return {
        "number": stage.number,
        "method": stage.request.get("method", "supervised"),
        "judges": [each.model for each in judges_in(stage)],
        "gate": stage.gate,
        "training_file": stage.training_file.public_id,
        "validation_file": held_out.public_id if held_out is not None else None,
        "status": str(job.state) if job is not None else WAITING,
        "job": job.public_id if job is not None else None,
        "fine_tuned_model": result.model_name if result is not None else None,
        "start_valid_loss": report.get("start_valid_loss", report.get("base_valid_loss")),
        "valid_loss": report.get("valid_loss"),
        "approved_at": stage.approved_at,
        "approved_by": stage.approved_by or None,
        "expected": expected,
    }
