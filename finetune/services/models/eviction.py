"""Takes models out of the serving process's memory when the right to have them there has ended.

`evict` is called after the commit that ended it. A serving process that does not answer is no
error: one that is down holds nothing, since its memory ended with it; for one that is up and did
not answer, every sweep compares what it holds with the rows (`reconcile`) and catches up.
"""

import asyncio
import logging
from functools import partial
from typing import Any
from uuid import UUID

from asgiref.sync import async_to_sync
from django.conf import settings
from django.db import transaction

from faults import Fault
from finetune import selectors
from finetune.models import CatalogModel
from finetune.serving.client import ServingClient
from finetune.serving.protocol import Status
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import License, Tenant
from tenants.rights import Right
from tenants.services.licences import require_license

log = logging.getLogger(__name__)

PATIENCE = 5.0  # seconds; the server answers between two tokens


def evict(
    *, tenant_id: UUID, base_digest: str | None = None, adapter_sha256: str | None = None
) -> bool:
    """Forget a tenant's adapters and end its answers: all, or of one base or one adapter.

    Outside any transaction. False when no serving process answered; see the module's first lines.
    """

    async def ask() -> None:
        async with asyncio.timeout(PATIENCE):
            await ServingClient(settings.SERVING_SOCKET).evict(
                str(tenant_id), base_digest=base_digest, adapter_digest=label(adapter_sha256)
            )

    return _asked(ask) is not None


def label(adapter_sha256: str | None) -> str | None:
    """An adapter's name in the serving process."""
    return None if adapter_sha256 is None else f"sha256:{adapter_sha256}"


def reconcile() -> None:
    """Evict what is in memory, or answers, without a row or a licence that allows it."""

    async def look() -> Status:
        async with asyncio.timeout(PATIENCE):
            return await ServingClient(settings.SERVING_SOCKET).status()

    status = _asked(look)
    for base in status.bases if isinstance(status, Status) else ():
        for tenant in {resident.tenant for resident in base.adapters} | set(base.tenants):
            held = {r.digest for r in base.adapters if r.tenant == tenant}
            _reconcile(UUID(tenant), base.digest, held)


def _reconcile(tenant_id: UUID, base_digest: str, held: set[str]) -> None:
    with tenant_scope(tenant_id):
        allowed = _may_serve(tenant_id, base_digest)
        known = set(selectors.artifacts().values_list("adapter_sha256", flat=True))
    if not allowed:
        evict(tenant_id=tenant_id, base_digest=base_digest)
        return
    for digest in held:
        if (bare := digest.removeprefix("sha256:")) not in known:
            evict(tenant_id=tenant_id, adapter_sha256=bare)


def _may_serve(tenant_id: UUID, base_digest: str) -> bool:
    """Whether the open scope's tenant still has its key, and any licence to serve the base."""
    if not Tenant.objects.filter(id=tenant_id, wrapped_key__isnull=False).exists():
        return False
    names = CatalogModel.objects.filter(digest=base_digest).values_list("name", flat=True)
    return any(_licensed(name) for name in names)


def _licensed(model: str) -> bool:
    try:
        require_license(model=model, right=Right.SERVE)
    except Refused:
        return False
    return True


def after_license_change(sender: type[License], instance: License, using: str, **_: Any) -> None:
    """Whoever saved a licence: once that is committed, what it no longer allows is evicted."""
    ask = partial(_evict_unlicensed, instance.tenant_id, instance.model)
    transaction.on_commit(ask, using=using, robust=True)


def _evict_unlicensed(tenant_id: UUID, model: str) -> None:
    base = CatalogModel.objects.filter(name=model).first()
    if base is None:
        return
    with tenant_scope(tenant_id):
        allowed = _may_serve(tenant_id, base.digest)
    if not allowed:
        evict(tenant_id=tenant_id, base_digest=base.digest)


def _asked(work: Any) -> Any:
    """What the serving process said (True for nothing), or None when it did not answer."""
    try:
        answer = async_to_sync(work)()
    except (Fault, TimeoutError) as error:
        log.info("the serving process did not answer: %s", error)
        return None
    return True if answer is None else answer
