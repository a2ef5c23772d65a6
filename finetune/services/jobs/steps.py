"""Moves a job's state and writes its history: the one place where either happens.

A step and its event are one transaction, and the job's row lock orders the events. Whoever locks a
job and its run locks the job first, so that two writers never wait for each other.
"""

from collections.abc import Iterable
from typing import Any
from uuid import UUID

from django.utils import timezone

from faults import OurFault
from finetune.models import Event, Job
from finetune.states import FINAL_JOB_STATES, JOB_STEPS, JobState
from tenants.errors import NotFound


def lock_job(job_id: UUID) -> Job:
    """The job's row, locked to the end of the transaction. Raises NotFound."""
    job = Job.objects.select_for_update().filter(id=job_id).first()
    if job is None:
        raise NotFound("job_not_found", "There is no such fine-tuning job.")
    return job


def step(
    job: Job,
    to: JobState,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """Moves the job to `to`, with the columns in `changes`, and says so in its history.

    Returns the locked row. Raises OurFault `step_not_allowed` when JOB_STEPS has no such step.
    """
    locked = lock_job(job.id)
    if to not in JOB_STEPS[JobState(locked.state)]:
        raise OurFault("step_not_allowed", f"A {locked.state} job cannot become {to.value}.")
    now = timezone.now()
    locked.state = to
    if to == JobState.RUNNING and locked.started_at is None:
        locked.started_at = now
    if to in FINAL_JOB_STATES:
        locked.finished_at = now
        locked.estimated_finish = None
    for name, value in changes.items():
        setattr(locked, name, value)
    _append(locked, [line(message, level=level, data=data)])
    locked.save()
    return locked


def note(
    job: Job,
    message: str,
    *,
    level: str = "info",
    data: dict[str, Any] | None = None,
    **changes: Any,
) -> Job:
    """A message without a step; `changes` are columns saved with it."""
    return write_events(job.id, [line(message, level=level, data=data)], **changes)


def write_events(job_id: UUID, lines: Iterable[dict[str, Any]], **changes: Any) -> Job:
    """Appends lines as made by `line`, numbered on from the job's last event."""
    locked = lock_job(job_id)
    for name, value in changes.items():
        setattr(locked, name, value)
    _append(locked, lines)
    locked.save()
    return locked


def line(
    message: str,
    *,
    type: str = "message",
    level: str = "info",
    data: dict[str, Any] | None = None,
) -> dict[str, Any]:
    return {"type": type, "level": level, "message": message, "data": data or {}}


def _append(locked: Job, lines: Iterable[dict[str, Any]]) -> None:
    events = []
    for each in lines:
        locked.events_count += 1
        events.append(Event(job=locked, seq=locked.events_count, **each))
    Event.objects.bulk_create(events)
