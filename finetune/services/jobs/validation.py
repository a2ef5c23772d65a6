"""The kind of work that makes a job ready: its files read for the model, "auto" resolved, the
budget kept; from `validating_files` to `queued`, or to `paused` where it is held."""

from collections import Counter
from uuid import UUID

from faults import Fault, OurFault, UserFault
from finetune import events
from finetune.events.waits import Wait
from finetune.models import Dataset, Estimate, Job, Run, Stage, Validation
from finetune.records.check.codes import CODES
from finetune.services.files.checking import CHECK, summary, why_waiting
from finetune.services.files.datasets import reading_of
from finetune.services.jobs import resolution
from finetune.services.jobs.below import BelowJob, retried
from finetune.services.jobs.budget import require_budget
from finetune.services.jobs.files import require_kind
from finetune.services.jobs.fit import require_fit
from finetune.services.jobs.nesting import Draw, drawn
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.resolution import Resolved
from finetune.services.jobs.splitting import Parted, part
from finetune.services.jobs.steps import note, step
from finetune.states import DatasetState, JobState
from finetune.work import leases, nudges
from finetune.work.kinds import Lease
from finetune.work.perform import perform
from finetune.work.pulse import Pulse
from finetune.work.signals import Wishes
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.vaults import vault_for
from tenants.states import FileStatus


class Validating(BelowJob):
    """Cancelling the job ends the row as well."""

    model = Validation
    admitted = JobState.VALIDATING_FILES

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _validate(lease)

    def on_wait(self, subject: Job, reason: Wait, *, is_new: bool) -> None:
        if is_new:
            note(subject, events.JobWaits.of(reason))

    def on_retry(self, subject: Job, fault: Fault, *, attempts: int, most: int) -> None:
        note(subject, retried(fault, attempts=attempts, most=most))


VALIDATE = Validating()


def _validate(lease: Lease) -> None:
    """Does what can be done. Where a file is not read yet, because another worker is at it or the
    storage is down, it waits: the end of that check, or the sweeper, comes back."""
    for reading_id in _unchecked(lease):
        perform(CHECK, tenant_id=lease.tenant_id, key=reading_id)
    if not _files_passed(lease):
        return
    for reading_id in _readings(lease):
        perform(CHECK, tenant_id=lease.tenant_id, key=reading_id)
    with tenant_scope(lease.tenant_id):
        job = Job.objects.select_related(
            "base", "training_data__file", "validation_data__file"
        ).get(id=lease.key)
        further = job.further
    train, valid = job.training_data, job.validation_data
    assert train is not None  # `_readings` made it
    trained = [train, *(each.data for each in further if each.data is not None)]
    found = [(data, "training_file") for data in trained]
    if valid is not None:
        found.append((valid, "validation_file"))
    for data, _ in found:
        if not is_done(data):
            leases.wait(lease, reason=why_waiting(data), seconds=0)
            return
    for data, param in found:
        if data.state == DatasetState.REFUSED:
            leases.fail(lease, fault=file_fault(data, param))
            return
    overlap = _overlap(lease.tenant_id, trained, valid) if valid is not None else None
    parted = _parted(lease.tenant_id, job, train) if job.requested.get("validation_split") else None
    draw = _draw(lease.tenant_id, job, train) if job.requested.get("learning_curve") else None
    _queue(lease, resolution.resolve(job, train, valid, parted, further, draw), overlap)


def _unchecked(lease: Lease) -> list[UUID]:
    """The checks of the job's files that had not ended when the job was asked for."""
    with leases.fenced(lease) as job:
        fresh = [file for file, _ in _files(job) if file.status == FileStatus.UPLOADED]
        checks = [
            reading_of(file=file, base=None, max_length=None, overflow="refuse") for file in fresh
        ]
        return [each.id for each in checks]


def _files_passed(lease: Lease) -> bool:
    """Whether the job may go on with its files; else it waits for a check, or has failed by one.

    Raises UserFault for records that the job's method does not train on."""
    with tenant_scope(lease.tenant_id):
        job = Job.objects.get(id=lease.key)
        found = [
            (
                file,
                param,
                Dataset.objects.select_related("file").filter(file=file, base=None).first(),
            )
            for file, param in _files(job)
        ]
        for file, param, _ in found:
            if file.status == FileStatus.PROCESSED:
                require_kind(file, job.method, param)
    for file, param, check in found:
        if file.status == FileStatus.ERROR and check is not None:
            leases.fail(lease, fault=file_fault(check, param))
            return False
    for file, _, check in found:
        if file.status == FileStatus.UPLOADED:
            reason = why_waiting(check) if check is not None else None
            leases.wait(lease, reason=reason, seconds=0)
            return False
    return True


def _files(job: Job) -> list[tuple[StoredFile, str]]:
    """Each with the request's name for it."""
    training = [(job.training_file, "training_file")]
    training += [(each.file, "training_file") for each in job.further]
    if job.validation_file is None:
        return training
    return [*training, (job.validation_file, "validation_file")]


def _readings(lease: Lease) -> list[UUID]:
    """The job's readings for its model, made if need be."""
    with leases.fenced(lease) as job:
        job.training_data = reading_for(job, job.training_file)
        if job.validation_file is not None:
            job.validation_data = reading_for(job, job.validation_file)
        job.save(update_fields=["training_data", "validation_data"])
        further = job.further
        for each in further:
            each.data = reading_for(job, each.file)
            each.save(update_fields=["data"])
        of_job = (job.training_data_id, job.validation_data_id, *(each.data_id for each in further))
        return [reading_id for reading_id in of_job if reading_id is not None]


def reading_for(job: Job, file: StoredFile) -> Dataset:
    return reading_of(
        file=file,
        base=job.base,
        max_length=resolution.max_length(job),
        overflow=job.requested["overflow"],
        thinking=resolution.thinking(job),
    )


def is_done(data: Dataset) -> bool:
    return data.state in (DatasetState.READY, DatasetState.REFUSED)


def file_fault(data: Dataset, param: str) -> Fault:
    """What is wrong, where, and how to mend it, in OpenAI's code for it."""
    first = (data.report or {}).get("first_error") or {}
    told = data.error or {}
    ours = told.get("family") == "ours"
    return (OurFault if ours else UserFault)(
        told["code"] if ours else f"invalid_{param}",
        f"{data.file.public_id} cannot be used. {summary(data)}",
        where=f"line {first['line']}" if first.get("line") else told.get("where"),
        fix=CODES[first["code"]].fix if first else told.get("fix"),
        param=param,
    )


def _parted(tenant_id: UUID, job: Job, train: Dataset) -> Parted:
    with tenant_scope(tenant_id):
        vault = vault_for(tenant_id)
    return part(job, train, vault, max_length=resolution.max_length(job))


def _draw(tenant_id: UUID, job: Job, train: Dataset) -> Draw:
    with tenant_scope(tenant_id):
        vault = vault_for(tenant_id)
    return drawn(job, train, vault)


def _overlap(tenant_id: UUID, trained: list[Dataset], valid: Dataset) -> int:
    """Validation rows that stand in the training rows too; a loss over them flatters."""
    with tenant_scope(tenant_id):
        vault = vault_for(tenant_id)
    with vault.open(valid.rows_object) as rows:
        held_out = Counter(hash(row) for row in rows)
    shared = 0
    for data in trained:
        with vault.open(data.rows_object) as rows:
            shared += sum(held_out.pop(hash(row), 0) for row in rows)
    return shared


def _split_told(parted: Parted) -> events.ValidationSplit:
    return events.ValidationSplit(
        rows=parted.held_out,
        of=parted.held_out + parted.rows,
        clusters=parted.clusters or 0,
    )


def _queue(lease: Lease, resolved: Resolved, overlap: int | None) -> None:
    """`overlap`: None without validation rows. Raises Refused when the licence's budget does not
    hold what will be trained."""
    with leases.fenced(lease) as job:
        kept = resolved.as_dict() | ({} if overlap is None else {"overlap": overlap})
        job.resolved = kept
        require_budget(job)
        require_fit(job)
        if overlap:
            note(job, events.OverlapFound(overlap=overlap))
        if resolved.split is not None:
            note(job, _split_told(resolved.split))
        note(job, *resolved.choices)
        found = {"resolved": kept, "total_steps": resolved.total_steps}
        leases.finish(lease)
        if _is_held(job):
            step(job, JobState.PAUSED, events.JobHeld(), **found)
            estimate, _ = Estimate.objects.get_or_create(job=job)
            nudges.wake(Estimate, job.tenant_id, estimate.id)
            return
        step(job, JobState.QUEUED, events.JobQueued(), **found)
        Run.objects.create(job=job)
        nudges.wake(Run, job.tenant_id, job.id)


def _is_held(job: Job) -> bool:
    """Asked for with `auto_start: false`, or a stage of a pipeline that was paused meanwhile."""
    if not JobRequest.model_validate(job.requested).auto_start:
        return True
    return Stage.objects.filter(job=job).exclude(pipeline__paused_at=None).exists()
