"""What a pipeline takes: each stage's figures, and their sum, from the rows alone."""

from typing import Any

from finetune.models import Job, Pipeline, Stage
from finetune.services.estimates.figures import resolved
from finetune.services.jobs.budget import promised
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.validation import reading_for
from finetune.services.runs import pace
from finetune.states import LIVE_LEASES
from tenants.services.licences import tokens_left

NAMES = ("trained_tokens", "steps", "training_seconds", "seconds", "peak_memory_mb")
UNKNOWN: dict[str, Any] = dict.fromkeys(NAMES)


def expected_of(pipeline: Pipeline, stage: Stage) -> dict[str, Any]:
    """By the name; None: not known. In the open scope."""
    if stage.job is not None:
        kept = ((stage.job.receipt or {}).get("expected") or {}) | _took(stage.job)
        return UNKNOWN | {name: kept.get(name) for name in NAMES}
    if pipeline.reserved_at is None or pipeline.state not in LIVE_LEASES:
        return UNKNOWN  # its files are not all read, or are not kept for it any more
    job = _sketched(pipeline, stage)
    known = pace.known(resolved(job))
    found = pace.figures(job, known, known.machine if known is not None else None)
    return UNKNOWN | {name: found.get(name) for name in NAMES}


def _sketched(pipeline: Pipeline, stage: Stage) -> Job:
    """The job that the stage will be, as far as figures ask of it. Nothing is locked for it: who
    looks on must not stand in the way of the worker that makes the next job."""
    request = JobRequest.model_validate(stage.request)
    job = Job(
        tenant_id=stage.tenant_id,
        base=pipeline.base,
        license=pipeline.license,
        method=request.method,
        training_file=stage.training_file,
        validation_file=stage.validation_file,
        requested=stage.request,
        seed=stage.seed,
    )
    job.training_data = reading_for(job, stage.training_file)
    if stage.validation_file is not None:
        job.validation_data = reading_for(job, stage.validation_file)
    return job


def _took(job: Job) -> dict[str, Any]:
    """What the stage's job knows for certain."""
    told = job.resolved or {}
    return {
        "trained_tokens": told.get("trained_tokens"),
        "steps": job.total_steps or told.get("total_steps"),
    }


def total_of(pipeline: Pipeline, stages: list[dict[str, Any]]) -> dict[str, Any]:
    """The sum of the stages, of the memory the largest; None where a stage's is not known."""
    total: dict[str, Any] = {}
    for name in NAMES:
        values = [each[name] for each in stages]
        known = None not in values
        total[name] = (max if name == "peak_memory_mb" else sum)(values) if known else None
    left = tokens_left(pipeline.license)
    return total | {
        "licence": {
            "tokens_left": left,
            "reserved": _reserved(pipeline),
            "promised": promised(pipeline.license),
        }
    }


def _reserved(pipeline: Pipeline) -> int | None:
    """Of all stages, as their files were read; None before that."""
    tokens = Stage.objects.filter(pipeline=pipeline).values_list("trained_tokens", flat=True)
    known = [each for each in tokens if each is not None]
    return sum(known) if pipeline.reserved_at is not None else None
