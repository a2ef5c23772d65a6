"""The run's row: who may work on a job, until when, and what becomes of an attempt that ends.

A claim is one guarded UPDATE on the database's clock; every later write is fenced by the epoch it
returned, so a worker that was presumed dead changes nothing. Locks go job first, then run.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import F, Value
from django.db.models.functions import Greatest, Now
from django.utils import timezone

from finetune.models import Job, Run
from finetune.services.jobs.steps import lock_job, note, step
from finetune.states import JobState, RunState
from finetune.work import nudges
from finetune.work.leases import LeaseLost
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.services.licences import Right, require_license

LONGEST_BACK_OFF = 600  # seconds
UNISOLATED = (
    "The worker's machine gives no sandbox, and the operator allows to train without one: the "
    "training process could read what its user can read, and reach the network."
)

CLAIM = """
UPDATE finetune_run
SET state = 'leased', epoch = epoch + 1, attempts = attempts + 1, worker = %(worker)s,
    isolation = CASE WHEN isolation = 'none' THEN isolation ELSE %(isolation)s END,
    lease_until = clock_timestamp() + %(lease)s, not_before = NULL,
    started_at = coalesce(started_at, clock_timestamp())
WHERE job_id = %(job)s AND state = 'waiting'
  AND (not_before IS NULL OR not_before <= clock_timestamp())
RETURNING id, epoch
"""

BEAT = """
UPDATE finetune_run SET lease_until = clock_timestamp() + %(lease)s
WHERE id = %(run)s AND epoch = %(epoch)s AND state = 'leased'
"""


@dataclass(frozen=True)
class Lease:
    """The right to work on a run; every write of its holder names the epoch."""

    tenant_id: UUID
    job_id: UUID
    run_id: UUID
    epoch: int


@dataclass(frozen=True)
class Wishes:
    """What the tenant asked for while the job runs."""

    cancel: bool = False
    pause: bool = False


def due(job_id: UUID) -> bool:
    """In the open scope: whether a claim would find something. Cheap, and promises nothing."""
    waiting = Run.objects.filter(job_id=job_id, state=RunState.WAITING, job__state=JobState.QUEUED)
    return waiting.exclude(not_before__gt=Now()).exists()


def claim(*, tenant_id: UUID, job_id: UUID, worker: str, isolation: str) -> Lease | None:
    """The lease on the job's waiting run, or None: nothing is due, or another worker was faster.

    The licence is checked again here; without it the job fails, saying what is missing. How the
    worker isolates the training stands in the run, the weakest of all attempts, and in the event.
    """
    with tenant_scope(tenant_id):
        job = Job.objects.select_for_update().filter(id=job_id, state=JobState.QUEUED).first()
        row = _claim_row(job_id, worker, isolation) if job is not None else None
        if job is None or row is None:
            return None
        lease = Lease(tenant_id, job_id, *row)
        try:
            require_license(model=job.base.name, right=Right.TRAIN, tokens=tokens_needed(job))
        except Refused as refusal:
            _fail(job, lease.run_id, as_error(refusal))
            return None
        again = lease.epoch > 1 or job.started_at is not None
        step(
            job,
            JobState.RUNNING,
            "Fine-tuning job continues." if again else "Fine-tuning job started.",
            data={"run": str(lease.run_id), "epoch": lease.epoch, "isolation": isolation},
        )
        if isolation == "none":
            note(job, UNISOLATED, level="warn", data={"isolation": isolation})
    return lease


def tokens_needed(job: Job) -> int:
    """Trained tokens of this job and of the live jobs before it under the same licence.

    Nothing is charged before a result is published, so what is live counts as promised.
    """
    others = Job.objects.filter(
        license=job.license,
        state__in=(JobState.QUEUED, JobState.RUNNING, JobState.PAUSED),
        created_at__lt=job.created_at,
    ).values_list("resolved__trained_tokens", flat=True)
    own = (job.resolved or {}).get("trained_tokens", 1)
    return int(own) + sum(int(tokens or 0) for tokens in others)


def beat(lease: Lease) -> None:
    """Renews the lease. Raises LeaseLost."""
    with tenant_scope(lease.tenant_id), connection.cursor() as cursor:
        cursor.execute(BEAT, {"lease": _lease_time(), "run": lease.run_id, "epoch": lease.epoch})
        if cursor.rowcount == 0:
            raise LeaseLost(lease)


def wishes(lease: Lease) -> Wishes:
    """Raises LeaseLost, so that whoever asks also learns that."""
    with tenant_scope(lease.tenant_id):
        found = (
            _mine(lease).values_list("job__cancel_requested_at", "job__pause_requested_at").first()
        )
    if found is None:
        raise LeaseLost(lease)
    return Wishes(cancel=found[0] is not None, pause=found[1] is not None)


@contextmanager
def fenced(lease: Lease) -> Iterator[Job]:
    """A transaction that only the lease's holder gets; yields the locked job. Raises LeaseLost."""
    with tenant_scope(lease.tenant_id):
        job = lock_job(lease.job_id)
        if not _mine(lease).select_for_update().exists():
            raise LeaseLost(lease)
        yield job


def made_progress(lease: Lease) -> None:
    """Inside `fenced`: something now outlives this attempt, so attempts count anew."""
    _mine(lease).update(attempts=0, wait_reason="")


def finish(lease: Lease) -> None:
    """Inside `fenced`: the run is done."""
    _end(lease.run_id, RunState.SUCCEEDED, exit_code=0)


def grant_wishes(lease: Lease, job: Job) -> bool:
    """Inside `fenced`: ends the attempt as the tenant asked; False if it asked for nothing."""
    return _grant_wishes(job, lease.run_id, None)


def give_back(lease: Lease, *, exit_code: int | None = None) -> None:
    """The training stopped because it was asked to: cancelled, paused, or queued again at once."""
    with fenced(lease) as job:
        if not _grant_wishes(job, lease.run_id, exit_code):
            _requeue(job, lease.run_id, "The worker is shutting down; the job is queued again.",
                     attempts=Greatest(F("attempts") - 1, 0), exit_code=exit_code)  # fmt: skip


def wait(lease: Lease, *, reason: str, seconds: int) -> None:
    """Something outside the run is missing (storage, disk): it waits, and no attempt is counted."""
    with fenced(lease) as job:
        if not _grant_wishes(job, lease.run_id, None):
            _requeue(job, lease.run_id, f"Waiting: {reason}", level="warn", delay=seconds,
                     attempts=Greatest(F("attempts") - 1, 0), wait_reason=reason[:200])  # fmt: skip


def postpone(*, tenant_id: UUID, job_id: UUID, reason: str, seconds: int) -> None:
    """A run that nobody has claimed waits on; the job says so once per reason. With 0 seconds a
    worker that lacks nothing may claim it at once."""
    with tenant_scope(tenant_id):
        job = lock_job(job_id)
        run = Run.objects.filter(job=job, state=RunState.WAITING).first()
        if run is None:
            return
        if run.wait_reason != reason[:200]:
            note(job, f"Waiting: {reason}", level="warn")
        Run.objects.filter(id=run.id).update(
            not_before=_in(seconds) if seconds else None, wait_reason=reason[:200]
        )


def attempt_failed(lease: Lease, *, error: dict[str, Any], exit_code: int | None) -> None:
    """Ours broke: another attempt after a back-off, a bounded number of times, then `failed`."""
    with fenced(lease) as job:
        _try_again_or_fail(job, lease.run_id, error, exit_code)


def fail(lease: Lease, *, error: dict[str, Any], exit_code: int | None = None) -> None:
    """The data or request is at fault: trying again would end the same."""
    with fenced(lease) as job:
        _fail(job, lease.run_id, error, exit_code)


def reap(*, tenant_id: UUID, run_id: UUID) -> None:
    """Takes a run back whose lease has expired; one that was renewed meanwhile is left alone."""
    with tenant_scope(tenant_id):
        job_id = Run.objects.values_list("job_id", flat=True).filter(id=run_id).first()
        if job_id is None:
            return
        job = lock_job(job_id)
        expired = Run.objects.filter(id=run_id, state=RunState.LEASED, lease_until__lt=Now())
        if not expired.select_for_update().exists():
            return
        error = {
            "code": "worker_lost",
            "message": "The worker that ran the job was lost.",
            "fix": "Nothing to do; if it happens again, the operator should look at the workers.",
        }
        _try_again_or_fail(job, run_id, error, None)


# --- the steps, inside a transaction that holds the job's lock ---------------------------------


def _claim_row(job_id: UUID, worker: str, isolation: str) -> tuple[UUID, int] | None:
    with connection.cursor() as cursor:
        values = {"worker": worker[:120], "lease": _lease_time(), "job": job_id}
        cursor.execute(CLAIM, values | {"isolation": isolation})
        found = cursor.fetchone()
    return (found[0], found[1]) if found else None


def _mine(lease: Lease) -> Any:
    return Run.objects.filter(id=lease.run_id, epoch=lease.epoch, state=RunState.LEASED)


def _lease_time() -> Any:  # psycopg takes it; the stubs of Django's cursor do not know
    return timedelta(seconds=settings.LEASE_SECONDS)


def _in(seconds: int) -> Any:
    return Now() + Value(timedelta(seconds=seconds))


def _grant_wishes(job: Job, run_id: UUID, exit_code: int | None) -> bool:
    """Ends the attempt as the tenant asked, if it asked."""
    if job.cancel_requested_at is not None:
        step(job, JobState.CANCELLED, "The fine-tuning job was cancelled.")
    elif job.pause_requested_at is not None:
        step(job, JobState.PAUSED, "The fine-tuning job is paused.", pause_requested_at=None)
    else:
        return False
    _end(run_id, RunState.CANCELLED, exit_code=exit_code)
    return True


def _requeue(
    job: Job, run_id: UUID, message: str, *, level: str = "info", delay: int = 0, **changes: Any
) -> None:
    step(job, JobState.QUEUED, message, level=level)
    Run.objects.filter(id=run_id).update(
        state=RunState.WAITING,
        lease_until=None,
        not_before=_in(delay) if delay else None,
        **changes,
    )
    if not delay:
        nudges.nudge(nudges.RUN_JOB, job.tenant_id, job.id)


def _try_again_or_fail(
    job: Job, run_id: UUID, error: dict[str, Any], exit_code: int | None
) -> None:
    if _grant_wishes(job, run_id, exit_code):
        return
    attempts = Run.objects.values_list("attempts", flat=True).get(id=run_id)
    if attempts >= settings.RUN_ATTEMPTS:
        _fail(job, run_id, error, exit_code)
        return
    # The first time at once: most often it was the machine and not the job.
    delay = min(settings.HEARTBEAT_SECONDS * (2 ** max(0, attempts - 1) - 1), LONGEST_BACK_OFF)
    _requeue(
        job,
        run_id,
        f"{error['message']} The job will be tried again"
        f" ({attempts} of {settings.RUN_ATTEMPTS} attempts without progress).",
        level="warn",
        delay=delay,
        exit_code=exit_code,
        wait_reason=str(error["message"])[:200],
    )


def _fail(job: Job, run_id: UUID, error: dict[str, Any], exit_code: int | None = None) -> None:
    step(job, JobState.FAILED, f"The job failed: {error['message']}", level="error", error=error)
    _end(run_id, RunState.FAILED, exit_code=exit_code)


def _end(run_id: UUID, state: RunState, *, exit_code: int | None) -> None:
    Run.objects.filter(id=run_id).update(
        state=state, lease_until=None, finished_at=timezone.now(), exit_code=exit_code
    )


def as_error(error: Any) -> dict[str, Any]:
    """A Fault's fields as `Job.error` keeps them."""
    return {
        name: getattr(error, name, None) for name in ("code", "message", "param", "where", "fix")
    }
