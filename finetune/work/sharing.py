"""Work that asks the model server again and again: a worker does few such at a time, and a long one
makes room for another tenant's between two parts, and goes on where it was."""

import threading
import time
from collections.abc import Callable
from typing import Any, ClassVar
from uuid import UUID

from finetune.work import leases, nudges
from finetune.work.kinds import Lease, OperationKind
from finetune.work.perform import shutdown
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.work.sweeping import Due, due
from tenants.database.scope import tenant_scope

TURN_SECONDS = 60.0  # then another tenant's that waits has the place
ASIDE_SECONDS = 5  # so long the other has, to take it


class SharingKind(OperationKind):
    """One at a time of each tenant: they share its turns at the model server. A kind writes `work`,
    which asks `gives_way` between two parts and returns where it does."""

    most: ClassVar[int] = 2  # in one worker: its other threads check files

    def __init__(self) -> None:
        self._at_work = 0
        self._lock = threading.Lock()

    def work(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        raise NotImplementedError

    def admits(self, subject: Any) -> bool:
        return self._at_work < self.most

    def at_once(self) -> int:
        return 1

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        with self._lock:
            self._at_work += 1
        try:
            self.work(lease, pulse)
        finally:
            with self._lock:
                self._at_work -= 1
            for found in self.others(lease.tenant_id)[:1]:
                nudges.wake(self.model, found.tenant_id, found.key)

    def gives_way(self, lease: Lease, began: float) -> bool:
        """Whether its turn is over that `began` at that time of the monotonic clock, and another
        tenant waits for it: then it waits, too."""
        if time.monotonic() <= began + TURN_SECONDS or not self.others(lease.tenant_id):
            return False
        leases.wait(lease, reason=None, seconds=ASIDE_SECONDS)
        return True

    def others(self, tenant_id: UUID) -> list[Due]:
        """What could be begun of other tenants that have none at work, the oldest first."""
        waiting = (row for row in due(self) if not row.expired and row.tenant_id != tenant_id)
        return [row for row in waiting if self._startable(row)]

    def _startable(self, row: Due) -> bool:
        with tenant_scope(row.tenant_id):
            found = self.ready(self.rows().filter(id=row.row_id))
            return found.exists() and not leases.held(self)


def still_wanted(lease: Lease, pulse: "Pulse[Wishes]") -> Callable[[], None]:
    """Raises LeaseLost, and Stopped where the tenant or the operator wants the end."""

    def still() -> None:
        if pulse.lost:
            raise LeaseLost(lease)
        if pulse.seen.cancel or shutdown.asked:
            raise Stopped

    return still
