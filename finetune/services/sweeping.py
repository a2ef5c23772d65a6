"""The one sweep: leased work of every kind (work/sweeping.py), and the chores, which are none."""

import logging
from uuid import UUID

from django.conf import settings
from django.db import connection

from finetune.services.kinds import KINDS
from finetune.services.models import eviction
from finetune.work import nudges
from finetune.work.sweeping import sweep as sweep_leased
from finetune.workspace import remove_leftovers
from tenants.services import failures, proofs
from tenants.services.vaults import object_store
from tenants.vault.errors import VaultError

log = logging.getLogger(__name__)

# What is due for a tenant by no row's lease: idempotent, and done whenever it is asked.
CHORES = {"expire": nudges.EXPIRE_FILE, "tidy": nudges.TIDY_TENANT}


def sweep() -> None:
    """Idempotent, cheap, and safe to run in several places at once: the rows decide."""
    sweep_leased(KINDS, [(CHORES[chore], tenant_id, key) for tenant_id, chore, key in due()])
    eviction.reconcile()
    remove_private_leftovers()
    failures.tell_due()
    proofs.forget_old()


def due() -> list[tuple[UUID, str, UUID]]:
    """(tenant, chore, row) of every chore that waits for somebody, by ids only."""
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
