"""A wish to know what a job would take: written down, its files read, a rehearsal woken."""

import secrets
from datetime import timedelta
from uuid import UUID

from django.conf import settings
from django.utils import timezone

from finetune.models import Dataset, Estimate, Job
from finetune.services.jobs.judges import judges_asked, require_asker
from finetune.services.jobs.lifecycle import admit
from finetune.services.jobs.request import MAX_SEED, JobRequest
from finetune.services.jobs.validation import is_done, reading_for
from finetune.work import nudges
from finetune.work.turns import require_turn
from tenants.access import Principal
from tenants.models import StoredFile
from tenants.rights import Right
from tenants.services import audit
from tenants.services.licences import require_license

KEPT_FOR = timedelta(days=30)


def ask(*, request: JobRequest, by: Principal) -> Estimate:
    """In the open scope. Raises what creating the job would, but for its budget and room, which an
    estimate tells; TooManyLive for too many that are not measured yet."""
    asked = admit(request)
    require_asker(judges_asked(request.grader_spec()), by)
    require_license(model=asked.base.name, right=Right.TRAIN)
    _require_turn()
    Estimate.objects.filter(job=None, created_at__lt=timezone.now() - KEPT_FOR).delete()
    estimate = Estimate.objects.create(
        requested=request.model_dump(mode="json"),
        seed=secrets.randbelow(MAX_SEED) if request.seed is None else request.seed,
        created_by=by.actor,
    )
    audit.record(
        actor=by.actor,
        action="estimate.create",
        target=estimate.public_id,
        data={"model": request.model},
    )
    job = job_of(estimate)
    for data in readings_of(job):
        if not is_done(data):
            nudges.wake(Dataset, data.tenant_id, data.id)
    nudges.wake(Estimate, estimate.tenant_id, estimate.id)
    return estimate


def job_of(estimate: Estimate, *, lock: bool = True) -> Job:
    """The held job, or the job that the wish would make, which no row is of; with its readings.
    `lock`: not for who only looks, and must not stand in the way of who deletes a file.

    Raises NotFound or UserFault where its model or files are not to be had any more."""
    if estimate.job_id is not None:
        data = "training_data__file", "validation_data__file"
        whole = Job.objects.select_related(
            "base", "license", "training_file", "validation_file", "parent"
        )
        return whole.select_related(*data).get(id=estimate.job_id)
    request = JobRequest.model_validate(estimate.requested)
    return wished_job(request, seed=estimate.seed, tenant_id=estimate.tenant_id, lock=lock)


def wished_job(request: JobRequest, *, seed: int, tenant_id: UUID, lock: bool = True) -> Job:
    """The job that a request would make, which no row is of; with its readings.

    Raises NotFound or UserFault where its model or files are not to be had."""
    asked = admit(request, lock=lock)
    job = Job(
        tenant_id=tenant_id,
        base=asked.base,
        license=require_license(model=asked.base.name, right=Right.TRAIN),
        method=request.method,
        training_file=asked.training,
        validation_file=asked.validation,
        **asked.origin,
        requested=asked.request.model_dump(mode="json"),
        seed=seed,
    )
    job.training_data = reading_for(job, asked.training)
    job.training_data.file = asked.training
    if asked.validation is not None:
        job.validation_data = reading_for(job, asked.validation)
        job.validation_data.file = asked.validation
    for each in asked.further:
        each.data = reading_for(job, each.file)
        each.data.file = each.file
    job.wished = asked.further
    return job


def readings_of(job: Job) -> list[Dataset]:
    return [data for _, _, data in files_of(job) if data is not None]


def files_of(job: Job) -> list[tuple[str, StoredFile, Dataset | None]]:
    """(the request's name for it, file, reading)"""
    found = [("training_file", job.training_file, job.training_data)]
    found += [("training_file", each.file, each.data) for each in job.further]
    if job.validation_file is not None:
        found.append(("validation_file", job.validation_file, job.validation_data))
    return found


def _require_turn() -> None:
    require_turn(
        Estimate,
        settings.JOBS_READ,
        code="too_many_estimates",
        said=f"{settings.JOBS_READ} estimates of your organisation are being made already.",
        retry_after=10,
    )
