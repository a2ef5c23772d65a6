"""Finds what nobody works on: nudges it again, takes back what dead workers hold, tidies up."""

import logging
from uuid import UUID

from django.conf import settings
from django.db import connection

from finetune.services.models import eviction
from finetune.services.runs import leases
from finetune.work import nudges
from finetune.workspace import remove_leftovers
from tenants.services import failures, proofs
from tenants.services.vaults import object_store
from tenants.vault.errors import VaultError

log = logging.getLogger(__name__)

TRAIN, IO = "train", "io"
NUDGE_FOR = {
    "validate": nudges.VALIDATE_JOB,
    "check": nudges.CHECK_DATASET,
    "run": nudges.RUN_JOB,
    "expire": nudges.EXPIRE_FILE,
    "tidy": nudges.TIDY_TENANT,
}


def sweep() -> None:
    """Idempotent, cheap, and safe to run in several places at once: the rows decide."""
    waiting: dict[str, list[tuple[str, UUID, UUID]]] = {TRAIN: [], IO: []}
    for tenant_id, kind, row_id in due():
        if kind == "reap":
            leases.reap(tenant_id=tenant_id, run_id=row_id)
        else:
            queue = TRAIN if kind == "run" else IO
            waiting[queue].append((NUDGE_FOR[kind], tenant_id, row_id))
    for queue, nudges_due in waiting.items():
        _nudge_again(queue, nudges_due)
    eviction.reconcile()
    remove_private_leftovers()
    failures.tell_due()
    proofs.forget_old()


def _nudge_again(queue: str, waiting: list[tuple[str, UUID, UUID]]) -> None:
    """Unless the queue already holds as many: busy workers must not find it flooded."""
    if waiting and nudges.depth(queue) < len(waiting):
        for task, tenant_id, row_id in waiting:
            nudges.nudge(task, tenant_id, row_id)


def due() -> list[tuple[UUID, str, UUID]]:
    """(tenant, kind, row) of everything that waits for somebody, by ids only."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT tenant_id, kind, id FROM privatune_due()")
        return list(cursor.fetchall())


def remove_private_leftovers() -> None:
    for name in remove_leftovers(settings.WORK_DIR):
        log.warning("removed the private folder %s of a dead process", name)


def tidy() -> None:
    """At a worker's start: what killed processes left on this machine and in the store."""
    remove_private_leftovers()
    try:
        object_store().sweep_partial()
    except VaultError as error:
        log.warning("the storage could not be tidied: %s", error)
