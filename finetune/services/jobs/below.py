"""What all leased work below a job does to it: the job is the subject, locked before the row."""

from typing import Any, ClassVar
from uuid import UUID

from faults import Fault
from finetune.events import JobFailed, JobRetried, JobWaits
from finetune.events.waits import Wait
from finetune.models import Job
from finetune.services.jobs.steps import note, step
from finetune.states import JobState
from finetune.work.given_up import GivenUp
from finetune.work.kinds import Kind


class BelowJob(Kind):
    admitted: ClassVar[JobState]  # the job's state in which the work may be claimed

    def lock(self, key: UUID) -> Job | None:
        return Job.objects.select_for_update().filter(id=key).first()

    def admits(self, subject: Job) -> bool:
        return subject.state == self.admitted

    def on_postpone(self, subject: Job, reason: Wait) -> None:
        note(subject, JobWaits.of(reason))

    def on_fail(self, subject: Job, fault: Fault) -> dict[str, Any]:
        attempts = fault.attempts if isinstance(fault, GivenUp) else 0
        message = JobFailed(error=fault.code, reason=fault.message, attempts=attempts)
        step(subject, JobState.FAILED, message, error=fault.fields())
        return {}


def retried(fault: Fault, *, attempts: int, most: int) -> JobRetried:
    return JobRetried(error=fault.code, reason=fault.message, attempts=attempts, most=most)
