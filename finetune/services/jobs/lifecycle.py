"""What a tenant does with a fine-tuning job: create, cancel, pause, resume.

Each verb is one transaction in the open scope; a worker is nudged when it commits.
"""

import secrets
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from django.utils import timezone

from faults import UserFault
from finetune import selectors
from finetune.events import (
    CancelRequested,
    FileAwaited,
    FileChecked,
    JobCancelled,
    JobCreated,
    JobGoesOnFrom,
    JobPaused,
    JobReleased,
    JobResumed,
    Message,
    PauseRequested,
    PauseWithdrawn,
)
from finetune.models import CatalogModel, Dataset, Job, JobFile, Run, Validation
from finetune.services.jobs.base_files import require_dimensions, require_targets, require_width
from finetune.services.jobs.files import require_family, require_kind, usable_file
from finetune.services.jobs.judges import judges_asked, require_asker, require_judges
from finetune.services.jobs.request import (
    MAX_SEED,
    EvaluationRequest,
    Hyperparameters,
    JobRequest,
    check_request,
    named_twice,
)
from finetune.services.jobs.room import require_room_of
from finetune.services.jobs.starting import (
    Start,
    no_model,
    require_same_head,
    start_of,
    with_start,
)
from finetune.services.jobs.steps import lock_job, note, step
from finetune.services.jobs.waiting import require_reading
from finetune.states import FINAL_JOB_STATES, DatasetState, JobState, LeaseState
from finetune.work import nudges
from tenants.access import Principal
from tenants.models import StoredFile
from tenants.rights import Right
from tenants.services import audit
from tenants.services.licences import require_license
from tenants.states import FileStatus

__all__ = [
    "EvaluationRequest",
    "Hyperparameters",
    "JobRequest",
    "cancel_job",
    "create_job",
    "pause_job",
    "resume_job",
]

PAUSABLE = (JobState.QUEUED, JobState.RUNNING)


def create_job(*, request: JobRequest, actor: str, by: Principal | None = None) -> Job:
    """A job in `validating_files`, with its first events. A file that is still being checked is
    waited for there. `by`: whose wish it is, where it is somebody's.

    Raises NotFound for a model or file that is not the tenant's to use, Refused without the licence
    to train, UserFault for a file of the wrong purpose or kind of records, a value out of range, a
    target that is no layer of the base, a storage that has no room for what the job may write, or
    too many jobs that wait for their files.
    """
    require_asker(judges_asked(request.grader_spec()), by)
    asked = admit(request)
    base, training, start, request = asked.base, asked.training, asked.start, asked.request
    licence = require_license(
        model=base.name, right=Right.TRAIN, tokens=_least_tokens(request, base, training)
    )
    room = require_room_of(request=request, base=base, training=training)  # one after the other
    require_reading()
    job = Job.objects.create(
        base=base,
        room_bytes=room,
        license=licence,
        method=request.method,
        training_file=training,
        validation_file=asked.validation,
        **asked.origin,
        requested=request.model_dump(mode="json"),
        suffix=request.suffix or "",
        seed=secrets.randbelow(MAX_SEED) if request.seed is None else request.seed,
        metadata=request.metadata,
        created_by=actor,
    )
    for each in asked.further:
        each.job = job
    JobFile.objects.bulk_create(asked.further)
    goes_on = [JobGoesOnFrom(model=start.model)] if start else []
    job = note(job, JobCreated(job=job.public_id), *goes_on, *_said_of_files(asked))
    audit.record(
        actor=actor, action="job.create", target=job.public_id, data={"model": request.model}
    )
    Validation.objects.create(job=job)
    nudges.wake(Validation, job.tenant_id, job.id)
    return job


@dataclass(frozen=True)
class Admitted:
    """`request` with what follows from its `start`."""

    request: JobRequest
    base: CatalogModel
    training: StoredFile
    validation: StoredFile | None
    further: list[JobFile]  # of no job yet
    start: Start | None

    @property
    def origin(self) -> dict[str, Any]:
        """A job's columns."""
        if self.start is None:
            return {}
        return {"parent": self.start.artifact, "start": self.start.as_dict()}


def admit(request: JobRequest, *, lock: bool = True) -> Admitted:
    """What a request names, where nothing speaks against it but licence and room; files and model
    locked, but for who only looks. Raises NotFound, UserFault."""
    start = start_of(request.model, keep_optimizer=request.keep_optimizer, lock=lock)
    base = start.base if start else base_of(request.model)
    if start:
        require_same_head(start, request.method)
        request = with_start(request, start)
    require_family(request.method, base)
    request.method_settings()  # before a file is judged by the method: what was written comes first
    require_judges(judges_asked(request.grader_spec()))
    training = usable_file(request.training_file, "training_file", lock=lock)
    validation = (
        usable_file(request.validation_file, "validation_file", lock=lock)
        if request.validation_file
        else None
    )
    further = _further(request, lock=lock)
    for file, param in (
        (training, "training_file"),
        *((each.file, "training_files") for each in further),
        (validation, "validation_file"),
    ):
        if file is not None:
            require_kind(file, request.method, param)
    check_request(request, context_length=base.context_length, infilling=base.infilling)
    require_targets(request.adapter_spec(), base)
    require_width(request.adapter_spec(), base)
    require_dimensions(request.method_settings(), base)
    return Admitted(request, base, training, validation, further, start)


def _further(request: JobRequest, *, lock: bool) -> list[JobFile]:
    asked = request.further_files
    if len({request.training_file, *(each.file for each in asked)}) != 1 + len(asked):
        raise named_twice()
    return [
        JobFile(
            position=position,
            file=usable_file(each.file, "training_files", lock=lock),
            weight=each.weight,
        )
        for position, each in enumerate(asked, 2)
    ]


def cancel_job(*, job_id: UUID, actor: str) -> Job:
    """Ends the job: at once when nothing runs, else as soon as its worker has stopped the training.

    Cancelling twice is no error. Raises NotFound, or UserFault when the job has already ended.
    """
    job = lock_job(job_id)
    if job.state == JobState.CANCELLED or job.cancel_requested_at is not None:
        return job
    _require_live(job, "cancel")
    now = timezone.now()
    if job.state == JobState.RUNNING:
        job = note(job, CancelRequested(), cancel_requested_at=now)
    else:
        job = step(job, JobState.CANCELLED, JobCancelled(), cancel_requested_at=now)
        _end_waiting_run(job)
        _end_validation(job)
    audit.record(actor=actor, action="job.cancel", target=job.public_id)
    return job


def pause_job(*, job_id: UUID, actor: str) -> Job:
    """Stops a queued job at once, a running one at its next checkpoint, which is asked for now.

    Pausing twice is no error. Raises NotFound, or UserFault `job_not_pausable`.
    """
    job = lock_job(job_id)
    if job.state == JobState.PAUSED or (
        job.state == JobState.RUNNING and job.pause_requested_at is not None
    ):
        return job
    if job.state not in PAUSABLE or job.cancel_requested_at is not None:
        raise UserFault(
            "job_not_pausable",
            f"A job that is {job.state} cannot be paused.",
            fix="Pause a job that is queued or running.",
        )
    if job.state == JobState.RUNNING:
        job = note(job, PauseRequested(), pause_requested_at=timezone.now())
    else:
        job = step(job, JobState.PAUSED, JobPaused())
        _end_waiting_run(job)
    audit.record(actor=actor, action="job.pause", target=job.public_id)
    return job


def resume_job(*, job_id: UUID, actor: str) -> Job:
    """Queues a paused job again from its last checkpoint, or one that was held, or takes a pause
    request back.

    Raises NotFound, Refused without the licence, or UserFault `job_not_resumable`.
    """
    job = lock_job(job_id)
    if job.state == JobState.RUNNING and job.pause_requested_at is not None:
        job = note(job, PauseWithdrawn(), pause_requested_at=None)
    elif job.state == JobState.PAUSED:
        require_license(model=job.base.name, right=Right.TRAIN, tokens=1)
        again = JobReleased() if selectors.is_held(job) else JobResumed()
        job = step(job, JobState.QUEUED, again, pause_requested_at=None)
        Run.objects.create(job=job)
        nudges.wake(Run, job.tenant_id, job.id)
    else:
        raise UserFault(
            "job_not_resumable",
            f"A job that is {job.state} cannot be resumed.",
            fix="Resume a job that is paused.",
        )
    audit.record(actor=actor, action="job.resume", target=job.public_id)
    return job


def base_of(model: str) -> CatalogModel:
    """Of a base's name, or of a fine-tuned model's. Raises NotFound."""
    if (start := start_of(model)) is not None:
        return start.base
    base = CatalogModel.objects.filter(name=model, retired_at=None).first()
    if base is None:
        raise no_model(model)
    return base


def _said_of_files(asked: Admitted) -> list[Message]:
    said: list[Message] = []
    for file in (asked.training, *(each.file for each in asked.further)):
        said.append(FileChecked(role="training", file=file.public_id))
        if file.status == FileStatus.UPLOADED:
            said.append(FileAwaited(role="training", file=file.public_id))
    if (validation := asked.validation) is not None:
        said.append(FileChecked(role="validation", file=validation.public_id))
        if validation.status == FileStatus.UPLOADED:
            said.append(FileAwaited(role="validation", file=validation.public_id))
    return said


def _least_tokens(request: JobRequest, base: CatalogModel, file: StoredFile) -> int:
    """Trained tokens that the job needs at the very least; the exact count follows the check.

    Known only when the file was read for this model before; else 1: some budget must be left.
    """
    reading = (
        Dataset.objects.filter(file=file, base=base, state=DatasetState.READY)
        .order_by("tokens_trained")
        .first()
    )
    epochs = request.hyperparameters.n_epochs
    tokens = (reading.tokens_trained if reading else 0) * (1 if epochs == "auto" else epochs)
    return max(1, int(tokens * request.weight * (1 - (request.validation_split or 0))))


def _require_live(job: Job, verb: str) -> None:
    if job.state in FINAL_JOB_STATES:
        raise UserFault(
            f"job_not_{verb}lable",
            f"The job has already ended: it is {job.state}.",
            fix="Nothing is left to stop.",
        )


def _end_waiting_run(job: Job) -> None:
    Run.objects.filter(job=job, state=LeaseState.WAITING).update(
        state=LeaseState.CANCELLED, finished_at=timezone.now()
    )


def _end_validation(job: Job) -> None:
    """Also one that a worker is at: its next write finds the lease lost."""
    live = Validation.objects.filter(job=job, state__in=(LeaseState.WAITING, LeaseState.LEASED))
    live.update(state=LeaseState.CANCELLED, lease_until=None, finished_at=timezone.now())
