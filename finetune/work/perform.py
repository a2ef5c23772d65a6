"""From a nudge to the end of an attempt: one ladder from what went wrong to what becomes of it.

| went wrong | becomes |
| an outage: storage, key, disk or sandbox missing | waits, no attempt counted |
| the customer's fault, or the customer's key destroyed | failed |
| ours | tried again, a bounded number of times, then failed |
| the database ended a step for another's sake (a deadlock) | as ours |
| the database itself | nothing is written: the lease runs out, and the reaper takes it back |
| the lease lost | nothing is written |
| the worker told to stop | given back: free again at once, no attempt counted |
"""

import logging
import os
import socket
from dataclasses import dataclass
from uuid import UUID

from django.db import Error as DatabaseError
from django.db import connection

from faults import Fault, Outage, UserFault
from faults.disk import is_full
from finetune.events.waits import DiskFull, Wait
from finetune.work import leases
from finetune.work.kinds import Kind, Lease
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.work.waiting import reason_of
from tenants.database.away import is_conflict
from tenants.services.vaults import object_store
from tenants.vault.errors import KeyDestroyed, VaultError

log = logging.getLogger(__name__)


@dataclass
class Shutdown:
    """Set when this worker is told to stop. A plain flag: a signal handler may not take locks."""

    asked: bool = False


shutdown = Shutdown()


def perform(kind: Kind, *, tenant_id: UUID, key: UUID) -> None:
    """Claims what waits under `key` if it is due, and works on it until it ends or somebody wants
    it back.

    Returns when there is nothing (more) to do; what became of it stands in its row.
    """
    if shutdown.asked or not leases.is_due(kind, tenant_id=tenant_id, key=key):
        return
    if missing := kind.lack(tenant_id=tenant_id, key=key):
        leases.postpone(kind, tenant_id=tenant_id, key=key, reason=missing, seconds=0)
        return
    if missing := _missing_outside():
        wait = kind.wait_seconds
        leases.postpone(kind, tenant_id=tenant_id, key=key, reason=missing, seconds=wait)
        return
    worker = f"{socket.gethostname()}:{os.getpid()}"
    lease = leases.claim(kind, tenant_id=tenant_id, key=key, worker=worker)
    if lease is None:
        return
    log.info("%s %s epoch %s: claimed", kind.model.task, lease.row_id, lease.epoch)
    try:
        with Pulse(lambda: leases.beat(lease), lambda: leases.wishes(lease), Wishes()) as pulse:
            _attempt(lease, pulse)
    except LeaseLost:
        log.warning("%s %s epoch %s: the lease is lost", kind.model.task, lease.row_id, lease.epoch)


def _attempt(lease: Lease, pulse: "Pulse[Wishes]") -> None:
    """Whatever goes wrong becomes the row's next state; only a lost lease leaves by exception."""
    kind, name = lease.kind, f"{lease.kind.model.task} {lease.row_id} epoch {lease.epoch}"
    try:
        kind.run(lease, pulse)
    except Stopped:
        leases.give_back(lease)
    except Outage as error:
        leases.wait(lease, reason=reason_of(error), seconds=kind.wait_seconds)
    except KeyDestroyed as error:
        leases.fail(lease, fault=kind.fault(error.code, error.message))
    except UserFault as error:
        leases.fail(lease, fault=error)
    except Fault as error:
        log.warning("%s: %s", name, error)
        failed(lease, error)
    except DatabaseError as error:
        log.exception("%s: the database failed", name)
        connection.close()
        if is_conflict(error):
            why = "The database ended the step in favour of another."
            failed(lease, kind.fault("database_conflict", why))
        # Else nothing can be written now. The lease runs out and the reaper takes the row back.
    except OSError as error:
        if is_full(error):
            leases.wait(lease, reason=DiskFull(), seconds=kind.wait_seconds)
        else:
            log.exception("%s: the worker's disk failed", name)
            why = f"The worker's disk failed ({error.strerror})."
            failed(lease, kind.fault("worker_disk", why))
    except LeaseLost:
        raise
    except Exception as error:
        log.exception("%s: a fault of ours", name)
        why = f"The worker failed ({type(error).__name__})."
        failed(lease, kind.fault("internal_error", why))


def failed(lease: Lease, fault: Fault, **columns: object) -> None:
    """Ours broke. What this worker lacks meanwhile is not the work's fault: then it waits."""
    if lacking := lease.kind.lack(tenant_id=lease.tenant_id, key=lease.key):
        leases.wait(lease, reason=lacking, seconds=lease.kind.wait_seconds)
    else:
        leases.retry(lease, fault=fault, **columns)


def _missing_outside() -> Wait | None:
    """What no worker could do without."""
    try:
        object_store().health()
    except VaultError as error:
        return reason_of(error)
    return None
