"""A stage as the job that it will be, before there is one: its files read for the model."""

from faults import UserFault
from finetune.models import Dataset, Job, Pipeline, Stage
from finetune.services.estimates.asking import readings_of, wished_job
from finetune.services.jobs.request import JobRequest
from finetune.services.pipelines.position import stages_of
from finetune.services.pipelines.request import placed


def open_stages(pipeline: Pipeline) -> list[tuple[Stage, Job]]:
    """Those without a job, each with the one that no row is of. In the open scope. Raises NotFound
    and UserFault, which name the stage, where model or files are not to be had any more."""
    return [(stage, job_of(stage)) for stage in stages_of(pipeline) if stage.job is None]


def job_of(stage: Stage) -> Job:
    request = JobRequest.model_validate(stage.request)
    try:
        return wished_job(request, seed=stage.seed, tenant_id=stage.tenant_id)
    except UserFault as fault:
        raise placed(fault, stage.number) from fault


def readings(stages: list[tuple[Stage, Job]]) -> list[tuple[Stage, str, Dataset]]:
    """(stage, the request's name for the file, its reading)"""
    names = ("training_file", "validation_file")
    return [
        (stage, name, data)
        for stage, job in stages
        for name, data in zip(names, readings_of(job), strict=False)
    ]
