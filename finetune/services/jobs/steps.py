"""Moves a job's state and writes its history: the one place where either happens.

A step and its event are one transaction, and the job's row lock orders the events. Whoever locks a
job and its run locks the job first, so that two writers never wait for each other.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from django.utils import timezone

from faults import OurFault
from finetune.events import Message
from finetune.models import Event, Job
from finetune.states import FINAL_JOB_STATES, JOB_STEPS, JobState
from tenants.errors import NotFound

COLUMNS = ("type", "level", "code", "message", "data")  # what an entry and an event both have


def lock_job(job_id: UUID) -> Job:
    """The job's row, locked to the end of the transaction. Raises NotFound."""
    job = Job.objects.select_for_update().filter(id=job_id).first()
    if job is None:
        raise NotFound("job_not_found", "There is no such fine-tuning job.")
    return job


def step(job: Job, to: JobState, message: Message, **changes: Any) -> Job:
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
    return _write(locked, [message.entry()], changes)


def note(job: Job, *said: Message, **changes: Any) -> Job:
    """Messages without a step; `changes` are columns saved with them."""
    return _write(lock_job(job.id), [each.entry() for each in said], changes)


def take_over(job: Job, said: Iterable[Mapping[str, Any]], **changes: Any) -> Job:
    """Entries of the training process, whose version may know codes that this one does not."""
    return _write(lock_job(job.id), said, changes)


def _write(locked: Job, said: Iterable[Mapping[str, Any]], changes: Mapping[str, Any]) -> Job:
    """Saves `changes` and appends entries, numbered on from the job's last event."""
    for name, value in changes.items():
        setattr(locked, name, value)
    rows = []
    for entry in said:
        locked.events_count += 1
        row = {name: entry[name] for name in COLUMNS if name in entry}
        rows.append(Event(job=locked, seq=locked.events_count, **row))
    Event.objects.bulk_create(rows)
    locked.save()
    return locked
