"""Finds the leased work that nobody does: nudges what waits, takes back what dead workers hold."""

from collections.abc import Iterable
from dataclasses import dataclass
from uuid import UUID

from django.db import connection

from finetune.work import leases, nudges
from finetune.work.kinds import Kind

Nudge = tuple[str, UUID, UUID]  # task, tenant, key
CHORES_QUEUE = "io"


@dataclass(frozen=True)
class Due:
    """A row of any tenant, by ids only."""

    tenant_id: UUID
    key: UUID
    row_id: UUID
    expired: bool  # leased, and its worker is gone


def due(kind: Kind) -> list[Due]:
    """Oldest first."""
    model, states = kind.model, kind.model.States
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, key_id, id, expired FROM privatune_leased(%s::regclass, %s, %s, %s)",
            [model._meta.db_table, model.key, states.WAITING, states.LEASED],
        )
        return [Due(*row) for row in cursor.fetchall()]


def sweep(kinds: Iterable[Kind], chores: Iterable[Nudge]) -> None:
    """Idempotent, cheap, and safe to run in several places at once: the rows decide."""
    waiting: dict[str, list[Nudge]] = {CHORES_QUEUE: list(chores)}
    for kind in kinds:
        for found in due(kind):
            if found.expired:
                leases.reap(kind, tenant_id=found.tenant_id, row_id=found.row_id)
            else:
                nudge = (nudges.task_of(kind.model), found.tenant_id, found.key)
                waiting.setdefault(kind.model.queue, []).append(nudge)
    for queue, each in waiting.items():
        _nudge_again(queue, each)


def _nudge_again(queue: str, waiting: list[Nudge]) -> None:
    """Unless the queue already holds as many: busy workers must not find it flooded."""
    if waiting and nudges.depth(queue) < len(waiting):
        for task, tenant_id, key in waiting:
            nudges.nudge(task, tenant_id, key)
