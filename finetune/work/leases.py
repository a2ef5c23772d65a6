"""One way to hold the right to work on a row, whatever the kind of work.

A claim is one guarded UPDATE on the database's clock; every later write is fenced by the epoch that
it gave, so a worker that was presumed dead changes nothing. What a kind adds to a step (its hooks)
happens in the same transaction, with the kind's subject locked before the row.
"""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db.models import F, Q, QuerySet, Value
from django.db.models.functions import Coalesce, Greatest, Now

from faults import Fault, OurFault, UserFault
from finetune.events.waits import LONGEST, Wait
from finetune.work import nudges
from finetune.work.given_up import GivenUp
from finetune.work.kinds import Kind, Lease
from finetune.work.signals import LeaseLost, Wishes
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id, tenant_scope

LONGEST_BACK_OFF = 600  # seconds


# --- to get a lease, and to keep it ------------------------------------------------------------


def is_due(kind: Kind, *, tenant_id: UUID, key: UUID) -> bool:
    """Whether a claim would find something. Cheap, and promises nothing."""
    with tenant_scope(tenant_id):
        return _due(kind, key).exists()


def claim(kind: Kind, *, tenant_id: UUID, key: UUID, worker: str) -> Lease | None:
    """The lease on the row that waits under `key`, or None: nothing is due, another worker was
    faster, or the kind refuses it now, and then the row has ended with the reason."""
    with tenant_scope(tenant_id):
        subject = kind.lock(key)
        if subject is None or not kind.admits(subject) or not _has_place(kind):
            return None
        claimed = _due(kind, key).update(
            state=kind.model.States.LEASED,
            epoch=F("epoch") + 1,
            attempts=F("attempts") + 1,
            worker=worker[:120],
            lease_until=_in(settings.LEASE_SECONDS),
            not_before=None,
            started_at=Coalesce("started_at", Now()),
            **kind.columns(),
        )
        if not claimed:
            return None
        row: Any = kind.rows().get(**{kind.model.key: key}, state=kind.model.States.LEASED)
        lease = kind.lease(kind, tenant_id, key, row.id, row.epoch)
        try:
            kind.on_claim(subject, lease)
        except UserFault as refusal:
            _fail(lease, subject, refusal)
            return None
    return lease


def beat(lease: Lease) -> None:
    """Renews the lease. Raises LeaseLost."""
    with tenant_scope(lease.tenant_id):
        if not _mine(lease).update(lease_until=_in(settings.LEASE_SECONDS)):
            raise LeaseLost(lease)


def wishes(lease: Lease) -> Wishes:
    """Raises LeaseLost, so that whoever asks also learns that."""
    with tenant_scope(lease.tenant_id):
        wished = lease.kind.wishes(_mine(lease))
    if wished is None:
        raise LeaseLost(lease)
    return wished


@contextmanager
def fenced(lease: Lease) -> Iterator[Any]:
    """A transaction that only the lease's holder gets; yields the locked subject: the job of a run,
    the row itself where nothing stands above it. Raises LeaseLost."""
    with tenant_scope(lease.tenant_id):
        subject = lease.kind.lock(lease.key)
        if subject is None or not _mine(lease).select_for_update().exists():
            raise LeaseLost(lease)
        yield subject


# --- while the work is done: inside `fenced` ---------------------------------------------------


def made_progress(lease: Lease) -> None:
    """Something now outlives this attempt, so attempts count anew."""
    _mine(lease).update(attempts=0, wait_reason="")


def tell_progress(lease: Lease, *, done: int, total: int | None = None) -> None:
    """Of an Operation, at any time, in its kind's own unit. Raises LeaseLost."""
    with tenant_scope(lease.tenant_id):
        if not _mine(lease).update(done=done, total=total):
            raise LeaseLost(lease)


def finish(lease: Lease, **columns: Any) -> None:
    end(lease, lease.kind.model.States.SUCCEEDED, **columns)


def end(lease: Lease, state: Any, **columns: Any) -> None:
    """In whichever of its final states, with what came of it."""
    _mine(lease).update(state=state, lease_until=None, finished_at=Now(), **columns)
    _wake_next(lease)


def grant_wishes(lease: Lease, subject: Any, **columns: Any) -> bool:
    """Ends the attempt as the tenant asked; False if it asked for nothing."""
    if not lease.kind.grants(subject):
        return False
    end(lease, lease.kind.model.States.CANCELLED, **columns)
    return True


# --- how an attempt ends; each is a transaction of its own and may raise LeaseLost --------------


def give_back(lease: Lease, **columns: Any) -> None:
    """The work stopped because it was asked to: ended as asked, or free again at once."""
    restart(lease, lease.kind.on_give_back, **columns)


def restart(lease: Lease, change: Callable[[Any], None], **columns: Any) -> None:
    """Free again at once, with what `change` made of the subject in the same transaction, unless
    somebody asked for the end. No attempt is counted: it is for the caller to do it so often only.
    """
    with fenced(lease) as subject:
        if not grant_wishes(lease, subject, **columns):
            change(subject)
            _requeue(lease, attempts=Greatest(F("attempts") - 1, 0), **columns)
            nudges.wake(lease.kind.model, lease.tenant_id, lease.key)


def wait(lease: Lease, *, reason: Wait | None, seconds: int) -> None:
    """Something outside the work is missing (storage, disk): no attempt is counted. None: somebody
    else is at what it needs, which wants no words."""
    told = _column(reason)
    with fenced(lease) as subject:
        if not grant_wishes(lease, subject):
            is_new = not _mine(lease).filter(wait_reason=told).exists()
            if reason is not None:
                lease.kind.on_wait(subject, reason, is_new=is_new)
            attempts = Greatest(F("attempts") - 1, 0)
            _requeue(lease, delay=seconds, attempts=attempts, wait_reason=told)


def postpone(kind: Kind, *, tenant_id: UUID, key: UUID, reason: Wait, seconds: int) -> None:
    """A row that nobody has claimed waits on; its reason is told once. With 0 seconds a worker that
    lacks nothing may claim it at once."""
    with tenant_scope(tenant_id):
        subject = kind.lock(key)
        waiting = kind.rows().filter(**{kind.model.key: key}, state=kind.model.States.WAITING)
        row = waiting.select_for_update().first()
        if subject is None or row is None:
            return
        if row.wait_reason != _column(reason):
            kind.on_postpone(subject, reason)
        waiting.update(not_before=_in(seconds) if seconds else None, wait_reason=_column(reason))


def retry(lease: Lease, *, fault: Fault, **columns: Any) -> None:
    """Ours broke: another attempt after a back-off, a bounded number of times, then failed."""
    with fenced(lease) as subject:
        _retry_or_fail(lease, subject, fault, **columns)


def fail(lease: Lease, *, fault: Fault, **columns: Any) -> None:
    """The data or request is at fault: trying again would end the same."""
    with fenced(lease) as subject:
        _fail(lease, subject, fault, **columns)


# --- from outside ------------------------------------------------------------------------------


def cancel(kind: Kind, *, key: UUID) -> None:
    """Of an Operation, in the open scope: at once while nobody works on it, else as soon as its
    worker's heartbeat has seen it. One that has ended stays as it is."""
    states = kind.model.States
    kind.lock(key)
    rows = kind.rows().filter(**{kind.model.key: key})
    rows.filter(state=states.LEASED, cancel_requested_at=None).update(cancel_requested_at=Now())
    rows.filter(state=states.WAITING).update(
        state=states.CANCELLED, cancel_requested_at=Now(), finished_at=Now(), not_before=None
    )


def reap(kind: Kind, *, tenant_id: UUID, row_id: UUID) -> None:
    """Takes a row back whose lease has expired; one that was renewed meanwhile is left alone."""
    with tenant_scope(tenant_id):
        row: Any = kind.rows().filter(id=row_id).first()
        subject = kind.lock(getattr(row, kind.model.key)) if row is not None else None
        expired = kind.rows().filter(
            id=row_id, state=kind.model.States.LEASED, lease_until__lt=Now()
        )
        row = expired.select_for_update().first()
        if subject is None or row is None:
            return
        lease = kind.lease(kind, tenant_id, getattr(row, kind.model.key), row.id, row.epoch)
        _retry_or_fail(lease, subject, OurFault("worker_lost", kind.lost, fix=kind.fix))


def held(kind: Kind) -> bool:
    """In the open scope: whether a worker that is alive holds a row."""
    return _held(kind).exists()


# --- the steps, inside a transaction that holds subject and row --------------------------------


def _due(kind: Kind, key: UUID) -> "QuerySet[Any]":
    return _waiting(kind).filter(**{kind.model.key: key})


def _waiting(kind: Kind) -> "QuerySet[Any]":
    """That may be claimed by now."""
    now = Q(not_before=None) | Q(not_before__lte=Now())
    return kind.rows().filter(now, state=kind.model.States.WAITING)


def _has_place(kind: Kind) -> bool:
    """Of those of the open scope's tenant. Claims that come at once are counted one by one."""
    most = kind.at_once()
    if most is None:
        return True
    lock(f"work:{kind.model.task}:{current_tenant_id()}")
    return _held(kind).count() < most


def _held(kind: Kind) -> "QuerySet[Any]":
    return kind.rows().filter(state=kind.model.States.LEASED, lease_until__gt=Now())


def _wake_next(lease: Lease) -> None:
    """A place of the tenant's is free again."""
    kind = lease.kind
    if kind.at_once() is None:
        return
    others = kind.ready(_waiting(kind)).exclude(id=lease.row_id).order_by("created_at")
    if (following := others.first()) is not None:
        nudges.wake(kind.model, lease.tenant_id, getattr(following, kind.model.key))


def _mine(lease: Lease) -> "QuerySet[Any]":
    leased = lease.kind.model.States.LEASED
    return lease.kind.rows().filter(id=lease.row_id, epoch=lease.epoch, state=leased)


def _column(reason: Wait | None) -> str:
    return reason.text[:LONGEST] if reason is not None else ""


def _in(seconds: int) -> Any:
    return Now() + Value(timedelta(seconds=seconds))


def _requeue(lease: Lease, *, delay: int = 0, **columns: Any) -> None:
    _mine(lease).update(
        state=lease.kind.model.States.WAITING,
        lease_until=None,
        not_before=_in(delay) if delay else None,
        **columns,
    )
    _wake_next(lease)


def _retry_or_fail(lease: Lease, subject: Any, fault: Fault, **columns: Any) -> None:
    if grant_wishes(lease, subject, **columns):
        return
    attempts, most = _mine(lease).values_list("attempts", flat=True).get(), settings.RUN_ATTEMPTS
    if attempts >= most:
        _fail(lease, subject, GivenUp(fault, attempts), **columns)
        return
    # The first time at once: most often it was the machine and not the work.
    delay = min(settings.HEARTBEAT_SECONDS * (2 ** max(0, attempts - 1) - 1), LONGEST_BACK_OFF)
    lease.kind.on_retry(subject, fault, attempts=attempts, most=most)
    _requeue(lease, delay=delay, wait_reason=fault.message[:LONGEST], **columns)
    if not delay:
        nudges.wake(lease.kind.model, lease.tenant_id, lease.key)


def _fail(lease: Lease, subject: Any, fault: Fault, **columns: Any) -> None:
    told = lease.kind.on_fail(subject, fault)
    end(lease, lease.kind.model.States.FAILED, **told, **columns)
