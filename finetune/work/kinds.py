"""What one kind of leased work is, and the lease on a row of it. A kind writes `run`, and a hook
where it adds to a step."""

from dataclasses import dataclass
from typing import Any, ClassVar
from uuid import UUID

from django.db.models import QuerySet

from faults import Fault, OurFault
from finetune.events.waits import Wait
from finetune.models.leased import Leased, Operation
from finetune.work.pulse import Pulse
from finetune.work.signals import Wishes


@dataclass(frozen=True)
class Lease:
    """The right to work on a row; every write of its holder names the epoch."""

    kind: "Kind"
    tenant_id: UUID
    key: UUID  # what the message held: of a run its job's id
    row_id: UUID
    epoch: int


class Kind:
    """The hooks named `on_...` run in the transaction that moves the row. `subject` is what `lock`
    gave: locked, before the row."""

    model: ClassVar[type[Leased]]
    lease: ClassVar[type[Lease]] = Lease
    wait_seconds: ClassVar[int] = 60  # before storage or disk are tried again
    lost: ClassVar[str] = "The worker that was at it was lost."
    fix: ClassVar[str] = "Try again; if it fails again, tell the operator its id."

    def run(self, lease: Lease, pulse: Pulse[Wishes]) -> None:
        """Does the work and ends the lease. What it raises, work/perform.py makes a step of."""
        raise NotImplementedError

    def rows(self) -> QuerySet[Any]:
        rows: QuerySet[Any] = self.model.objects.all()  # type: ignore[attr-defined]
        return rows

    # --- asked before a claim, and of what `run` raised ---

    def lack(self, *, tenant_id: UUID, key: UUID) -> Wait | None:
        """What this worker lacks for it and another may have."""
        return None

    def at_once(self) -> int | None:
        """How many rows of a tenant may be worked on at a time; None: any number."""
        return None

    def ready(self, waiting: QuerySet[Any]) -> QuerySet[Any]:
        """Of rows that wait, those that could be begun once there is a place."""
        return waiting

    def columns(self) -> dict[str, Any]:
        """What a claim notes in the row besides."""
        return {}

    def fault(self, code: str, message: str) -> Fault:
        """Of what nobody foresaw."""
        return OurFault(code, message, fix=self.fix)

    # --- what more a step does ---

    def lock(self, key: UUID) -> Any:
        """The subject, locked: what stands above the row; the row itself if nothing does. None when
        it is gone."""
        return self.rows().select_for_update().filter(**{self.model.key: key}).first()

    def admits(self, subject: Any) -> bool:
        """Whether it may be claimed now."""
        return True

    def wishes(self, mine: QuerySet[Any]) -> Wishes | None:
        """Of the row in `mine`; None if there is none."""
        return Wishes() if mine.exists() else None

    def grants(self, subject: Any) -> bool:
        """Whether somebody asked for the end; what stands above then ends with it."""
        return False

    def on_claim(self, subject: Any, lease: Lease) -> None:
        """Raises UserFault: then it fails, with that."""

    def on_give_back(self, subject: Any) -> None: ...

    def on_wait(self, subject: Any, reason: Wait, *, is_new: bool) -> None: ...

    def on_postpone(self, subject: Any, reason: Wait) -> None: ...

    def on_retry(self, subject: Any, fault: Fault, *, attempts: int, most: int) -> None: ...

    def on_fail(self, subject: Any, fault: Fault) -> dict[str, Any]:
        """Columns of the row that keep the error, where nothing above does."""
        return {}


class OperationKind(Kind):
    """Of an Operation, which carries wish, progress and error itself."""

    model: ClassVar[type[Operation]]

    def wishes(self, mine: QuerySet[Any]) -> Wishes | None:
        found = mine.values_list("cancel_requested_at").first()
        return None if found is None else Wishes(cancel=found[0] is not None)

    def grants(self, subject: Any) -> bool:
        return bool(subject.cancel_requested_at)

    def on_fail(self, subject: Any, fault: Fault) -> dict[str, Any]:
        return {"error": fault.fields()}
