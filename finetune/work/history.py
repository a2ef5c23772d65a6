"""Writes a job's history: the one place where its events are numbered.

The job's row lock orders them. Whoever locks a job and its run locks the job first, so that two
writers never wait for each other.
"""

from collections.abc import Iterable, Mapping
from typing import Any
from uuid import UUID

from finetune.events import Message
from finetune.models import Event, Job
from tenants.errors import NotFound

COLUMNS = ("type", "level", "code", "message", "data")  # what an entry and an event both have


def lock_job(job_id: UUID) -> Job:
    """The job's row, locked to the end of the transaction. Raises NotFound."""
    job = Job.objects.select_for_update().filter(id=job_id).first()
    if job is None:
        raise NotFound("job_not_found", "There is no such fine-tuning job.")
    return job


def note(job: Job, *said: Message, **changes: Any) -> Job:
    """Messages without a step; `changes` are columns saved with them."""
    return write(lock_job(job.id), [each.entry() for each in said], changes)


def take_over(job: Job, said: Iterable[Mapping[str, Any]], **changes: Any) -> Job:
    """Entries of the training process, whose version may know codes that this one does not."""
    return write(lock_job(job.id), said, changes)


def write(locked: Job, said: Iterable[Mapping[str, Any]], changes: Mapping[str, Any]) -> Job:
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
