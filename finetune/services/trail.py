"""The audit trail's way out, and who signs its heads: the worker, which knows the signing key."""

import asyncio
import time
from collections.abc import AsyncGenerator, Iterator
from uuid import UUID

from asgiref.sync import sync_to_async

from finetune.signing import public_key_pem, signing_key
from finetune.work import nudges
from tenants.access import Principal
from tenants.database.scope import release_connection, tenant_scope
from tenants.models import AuditEntry
from tenants.roles import Scope
from tenants.services import audit, heads
from tenants.services.trail_export import export_pages

SIGN_WAIT_SECONDS = 5.0  # for the worker; then what is new leaves chained and not yet signed
LOOK_SECONDS = 0.1


def sign_heads() -> int:
    """Every tenant's that is due. Raises KeyUnavailable or OurFault when the key cannot be used."""
    return heads.sign_due(private_pem=signing_key())


def sign_head(*, tenant_id: UUID) -> None:
    """One tenant's, now. Raises ChainBroken, KeyUnavailable, OurFault."""
    heads.sign_tenant(tenant_id=tenant_id, private_pem=signing_key())


def export(*, by: Principal) -> AsyncGenerator[bytes]:
    """Their tenant's audit trail as JSON lines. The export is an entry itself, and a head over it
    is asked of a worker. Raises Refused without the scope to read the tenant."""
    by.require(Scope.TENANT_READ)
    with tenant_scope(by.tenant_id):
        audit.record(actor=by.actor, action="audit.export")
        nudges.nudge(nudges.SIGN_HEAD, by.tenant_id, by.tenant_id)
    return _stream(by.tenant_id, public_key_pem())


async def _stream(tenant_id: UUID, public_pem: str) -> AsyncGenerator[bytes]:
    deadline = time.monotonic() + SIGN_WAIT_SECONDS
    while not await sync_to_async(_is_signed)(tenant_id) and time.monotonic() < deadline:
        await asyncio.sleep(LOOK_SECONDS)
    pages = export_pages(tenant_id=tenant_id, public_key_pem=public_pem)
    while (page := await sync_to_async(_next)(pages)) is not None:
        yield page


def _is_signed(tenant_id: UUID) -> bool:
    with tenant_scope(tenant_id):
        head = heads.newest_head()
        last = AuditEntry.objects.order_by("-seq").values_list("seq", flat=True).first()
        signed = head is not None and last is not None and head.seq >= last
    release_connection()
    return signed


def _next(pages: Iterator[bytes]) -> bytes | None:
    page = next(pages, None)
    release_connection()  # a slow reader must not hold it
    return page
