"""From `validating_files` to `queued`: files read for the model, "auto" resolved, budget kept.

The worker's side. Twice at once does no harm: a reading is claimed once, and the last transaction
looks at the job's state under its lock.
"""

from typing import Any
from uuid import UUID

from finetune.models import Dataset, Job, Run
from finetune.records.check import CODES
from finetune.services.files import checking
from finetune.services.files.datasets import reading_of
from finetune.services.jobs import resolution
from finetune.services.jobs.resolution import Resolved
from finetune.services.jobs.steps import lock_job, note, step
from finetune.services.runs.leases import as_error, tokens_needed
from finetune.states import DatasetState, JobState
from finetune.work import nudges
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import StoredFile
from tenants.services.licences import Right, require_license
from tenants.services.vaults import vault_for


def validate(*, tenant_id: UUID, job_id: UUID) -> None:
    """Does what is left to do. Returns early when another worker is at it, or the storage is down:
    the end of that check, or the sweeper, comes back."""
    readings = _readings(tenant_id, job_id)
    if readings is None:
        return
    for dataset in readings:
        checking.check(tenant_id=tenant_id, dataset_id=dataset.id)
    with tenant_scope(tenant_id):
        job = Job.objects.select_related(
            "base", "training_data__file", "validation_data__file"
        ).get(id=job_id)
        train, valid = job.training_data, job.validation_data
    if train is None or not all(_is_done(data) for data in (train, valid) if data):
        return
    for data, param in ((train, "training_file"), (valid, "validation_file")):
        if data is not None and data.state == DatasetState.REFUSED:
            _refuse(tenant_id, job_id, _file_error(data, param))
            return
    overlap = _overlap(tenant_id, train, valid) if valid is not None else 0
    resolved = resolution.resolve(job, train, valid)
    _queue(tenant_id, job_id, resolved, overlap)


def _readings(tenant_id: UUID, job_id: UUID) -> list[Dataset] | None:
    """The job's readings for its model, made if need be; None when nothing is left to do."""
    with tenant_scope(tenant_id):
        job = Job.objects.select_for_update().filter(id=job_id).first()
        if job is None or job.state != JobState.VALIDATING_FILES:
            return None
        job.training_data = _reading(job, job.training_file)
        if job.validation_file is not None:
            job.validation_data = _reading(job, job.validation_file)
        job.save(update_fields=["training_data", "validation_data"])
        return [data for data in (job.training_data, job.validation_data) if data is not None]


def _reading(job: Job, file: StoredFile) -> Dataset:
    return reading_of(
        file=file,
        base=job.base,
        max_length=resolution.max_length(job),
        overflow=job.requested["overflow"],
    )


def _is_done(data: Dataset) -> bool:
    return data.state in (DatasetState.READY, DatasetState.REFUSED)


def _file_error(data: Dataset, param: str) -> dict[str, Any]:
    """What is wrong, where, and how to mend it, in OpenAI's code for it."""
    first = (data.report or {}).get("first_error") or {}
    fault = data.error or {}
    ours = fault.get("family") == "ours"
    return {
        "code": fault["code"] if ours else f"invalid_{param}",
        "message": f"{data.file.public_id} cannot be used. {checking.summary(data)}",
        "param": param,
        "where": f"line {first['line']}" if first.get("line") else fault.get("where"),
        "fix": CODES[first["code"]].fix if first else fault.get("fix"),
    }


def _overlap(tenant_id: UUID, train: Dataset, valid: Dataset) -> int:
    """Validation rows that stand in the training rows too; a loss over them flatters."""
    with tenant_scope(tenant_id):
        vault = vault_for(tenant_id)
    with vault.open(valid.rows_object) as rows:
        held_out = {hash(row) for row in rows}
    with vault.open(train.rows_object) as rows:
        return len({hash(row) for row in rows} & held_out)


def _queue(tenant_id: UUID, job_id: UUID, resolved: Resolved, overlap: int) -> None:
    with tenant_scope(tenant_id):
        job = lock_job(job_id)
        if job.state != JobState.VALIDATING_FILES:
            return
        job.resolved = resolved.as_dict()
        try:
            require_license(model=job.base.name, right=Right.TRAIN, tokens=tokens_needed(job))
        except Refused as refusal:
            _fail(job, as_error(refusal))
            return
        if overlap:
            text = f"{overlap} rows of the validation file also stand in the training file."
            note(job, text, level="warn", data={"overlap": overlap})
        for name, reason in resolved.reasons.items():
            note(job, f"{name}: {reason}")
        step(
            job,
            JobState.QUEUED,
            "Files validated, moving job to queued state.",
            resolved=resolved.as_dict(),
            total_steps=resolved.total_steps,
        )
        Run.objects.create(job=job)
        nudges.nudge(nudges.RUN_JOB, tenant_id, job_id)


def _refuse(tenant_id: UUID, job_id: UUID, error: dict[str, Any]) -> None:
    with tenant_scope(tenant_id):
        job = lock_job(job_id)
        if job.state == JobState.VALIDATING_FILES:
            _fail(job, error)


def _fail(job: Job, error: dict[str, Any]) -> None:
    step(job, JobState.FAILED, f"The job failed: {error['message']}", level="error", error=error)
