"""The kind of work that trains a job: each step of a run's lease is a step of its job as well, with
its event, in the same transaction."""

from typing import Any, cast
from uuid import UUID

from django.db.models import Case, QuerySet, Value, When

from faults import Fault
from finetune import events
from finetune.events.waits import Wait
from finetune.models import Job, Run
from finetune.services.jobs.below import BelowJob, retried
from finetune.services.jobs.budget import tokens_needed
from finetune.services.jobs.steps import note, step
from finetune.services.models.withholding import require_given_out
from finetune.services.runs import attempt, gpus
from finetune.services.runs.lease import RunLease
from finetune.states import JobState
from finetune.work import fitness
from finetune.work.isolation import isolation
from finetune.work.kinds import Lease
from finetune.work.pulse import Pulse
from finetune.work.signals import Wishes
from tenants.rights import Right
from tenants.services.licences import require_license


class Training(BelowJob):
    model = Run
    admitted = JobState.QUEUED
    lease = RunLease
    lost = "The worker that ran the job was lost."
    fix = "Create the job again; if it fails again, tell the operator the job's id."

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        attempt.work(cast(RunLease, lease), pulse)

    def lack(self, *, tenant_id: UUID, key: UUID) -> Wait | None:
        lacking = fitness.lack() or fitness.lack_for(tenant_id, key)
        return lacking or gpus.lack_of(tenant_id, key)

    def columns(self) -> dict[str, Any]:
        """How the worker isolates the training: the weakest of all attempts stays."""
        weakest = When(isolation="none", then=Value("none"))
        return {"isolation": Case(weakest, default=Value(str(isolation())))}

    def wishes(self, mine: "QuerySet[Any]") -> Wishes | None:
        asked = mine.values_list("job__cancel_requested_at", "job__pause_requested_at").first()
        return None if asked is None else Wishes(*(at is not None for at in asked))

    def grants(self, subject: Job) -> bool:
        if subject.cancel_requested_at is not None:
            step(subject, JobState.CANCELLED, events.JobCancelled())
        elif subject.pause_requested_at is not None:
            step(subject, JobState.PAUSED, events.JobPaused(), pause_requested_at=None)
        else:
            return False
        return True

    def on_claim(self, subject: Job, lease: Lease) -> None:
        """The licence is checked again here, and whether the model that it goes on from may be
        used; without it the job fails, saying what is missing."""
        require_license(model=subject.base.name, right=Right.TRAIN, tokens=tokens_needed(subject))
        if subject.parent is not None:
            require_given_out(subject.parent)
        level, again = str(isolation()), lease.epoch > 1 or subject.started_at is not None
        begun = events.JobContinued if again else events.JobStarted
        said = begun(run=str(lease.row_id), epoch=lease.epoch, isolation=level)
        step(subject, JobState.RUNNING, said)
        if level == "none":
            note(subject, events.NotIsolated(isolation=level))

    def on_give_back(self, subject: Job) -> None:
        step(subject, JobState.QUEUED, events.JobGivenBack())

    def on_wait(self, subject: Job, reason: Wait, *, is_new: bool) -> None:
        step(subject, JobState.QUEUED, events.JobWaits.of(reason))

    def on_retry(self, subject: Job, fault: Fault, *, attempts: int, most: int) -> None:
        step(subject, JobState.QUEUED, retried(fault, attempts=attempts, most=most))


TRAIN = Training()
