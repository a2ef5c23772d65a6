"""What a pipeline takes: each stage's figures, and their sum, from the rows alone."""

from typing import Any

from faults import UserFault
from finetune.models import Job, Pipeline, Stage
from finetune.services.estimates.asking import readings_of
from finetune.services.estimates.figures import resolved
from finetune.services.jobs.budget import promised
from finetune.services.jobs.validation import is_done
from finetune.services.pipelines.wishes import job_of
from finetune.services.runs import pace
from finetune.states import DatasetState
from tenants.services.licences import tokens_left

NAMES = ("trained_tokens", "steps", "training_seconds", "seconds", "peak_memory_mb")
UNKNOWN: dict[str, Any] = dict.fromkeys(NAMES)


def expected_of(stage: Stage) -> dict[str, Any]:
    """By the name; None: not known. In the open scope."""
    if stage.job is not None:
        kept = ((stage.job.receipt or {}).get("expected") or {}) | _took(stage.job)
        return UNKNOWN | {name: kept.get(name) for name in NAMES}
    try:
        job = job_of(stage)
    except UserFault:  # its files or model are gone, which its start will say
        return UNKNOWN
    if any(not is_done(data) or data.state == DatasetState.REFUSED for data in readings_of(job)):
        return UNKNOWN
    known = pace.known(resolved(job))
    found = pace.figures(job, known, known.machine if known is not None else None)
    return UNKNOWN | {name: found.get(name) for name in NAMES}


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
