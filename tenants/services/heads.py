"""Signs where the audit chains stand, so that a chain computed anew shows.

Only after looking that the chain still continues what was signed before: a signature under a chain
that was cut or rewritten would make it true.
"""

import logging
from datetime import timedelta
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tenants.database.locks import lock
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, AuditHead
from tenants.services.audit import entry_json
from tenants.trail.chain import COVERED, link_digest
from tenants.trail.heads import sign_head

log = logging.getLogger(__name__)

SIGN_EVERY = timedelta(minutes=5)


class ChainBroken(Exception):
    """The chain does not continue its last signed head; the message says at which entry."""


def sign_due(*, private_pem: bytes) -> int:
    """Signs a head for every tenant whose chain has grown and whose last head is old enough.

    A broken chain is logged as an error and gets none; returns how many were signed.
    """
    with connection.cursor() as cursor:
        older: list[Any] = [
            SIGN_EVERY
        ]  # psycopg takes it; the stubs of Django's cursor do not know
        cursor.execute("SELECT privatune_unsigned(%s)", older)
        due: list[UUID] = [row[0] for row in cursor.fetchall()]
    signed = 0
    for tenant_id in due:
        try:
            signed += sign_tenant(tenant_id=tenant_id, private_pem=private_pem) is not None
        except ChainBroken as error:
            log.error("the audit chain of tenant %s is not signed: %s", tenant_id, error)
    return signed


def sign_tenant(*, tenant_id: UUID, private_pem: bytes) -> AuditHead | None:
    """A head over the newest entry; None when it has one. Raises ChainBroken, BadKey."""
    with tenant_scope(tenant_id):
        lock(f"head:{tenant_id}")
        head = newest_head()
        last = _checked_since(head)
        if last is None or (head is not None and last.seq == head.seq):
            return None
        at = timezone.now().isoformat(timespec="microseconds")
        signed = sign_head(
            private_pem, tenant=str(tenant_id), seq=last.seq, digest=last.digest, at=at
        )
        del signed["tenant"]
        return AuditHead.objects.create(**signed)


def newest_head() -> AuditHead | None:
    """Of the open scope's tenant."""
    return AuditHead.objects.order_by("-seq").first()


def head_json(head: AuditHead) -> dict[str, object]:
    return {
        "tenant": str(head.tenant_id),
        "seq": head.seq,
        "digest": head.digest,
        "at": head.at,
        "signer": head.signer,
        "signature": head.signature,
    }


def _checked_since(head: AuditHead | None) -> AuditEntry | None:
    """The newest entry, after checking every link from the signed one on."""
    start = head.seq if head else 1
    last: AuditEntry | None = None
    for entry in AuditEntry.objects.filter(seq__gte=start).order_by("seq").iterator():
        first = last is None
        if last is not None and (entry.seq, entry.previous) != (last.seq + 1, last.digest):
            raise ChainBroken(f"entry {entry.seq} does not continue the one before it")
        if first and head is not None and (entry.seq, entry.digest) != (head.seq, head.digest):
            raise ChainBroken(f"entry {head.seq} is not the one that was signed on {head.at}")
        if first and head is None and (entry.seq, entry.previous) != (1, ""):
            raise ChainBroken(f"it begins with entry {entry.seq}")
        if entry.version not in COVERED or link_digest(entry_json(entry)) != entry.digest:
            raise ChainBroken(f"entry {entry.seq} was changed after it was written")
        last = entry
    if head is not None and last is None:
        raise ChainBroken(f"entry {head.seq} was signed on {head.at} and is gone")
    return last
