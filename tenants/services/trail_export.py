"""The audit trail as JSON lines: what `privatune audit verify` checks without this server.

Read in short transactions, so that a long download holds no database connection.
"""

import json
from collections.abc import Iterator
from typing import Any
from uuid import UUID

from django.utils import timezone

from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, AuditHead
from tenants.services.audit import entry_json
from tenants.services.heads import head_json
from tenants.trail.verify import FORMAT

PAGE = 500
BEFORE_ALL = -(2**63)


def export_pages(*, tenant_id: UUID, public_key_pem: str) -> Iterator[bytes]:
    """The export in pieces of whole lines: the entries of now, their heads, and an end record.

    Opens the tenant's scope for each piece; call it outside any.
    """
    with tenant_scope(tenant_id):
        # Heads first, and all of them: one beyond the last entry is what shows a truncation, and
        # one that is signed while this export runs would look like it.
        heads = [head_json(head) for head in AuditHead.objects.order_by("seq")]
        last = AuditEntry.objects.order_by("-seq").values_list("seq", flat=True).first() or 0
    yield _line(
        type="export",
        format=FORMAT,
        version=1,
        tenant=str(tenant_id),
        exported_at=timezone.now().isoformat(timespec="seconds"),
        public_key_pem=public_key_pem,
    )
    count, digest, seq = 0, "", BEFORE_ALL
    while page := _entries(tenant_id, seq, last):
        count, digest, seq = count + len(page), page[-1]["digest"], page[-1]["seq"]
        yield b"".join(_line(type="entry", **entry) for entry in page)
    yield b"".join(_line(type="head", **head) for head in heads)
    yield _line(type="end", entries=count, heads=len(heads), last_digest=digest)


def _entries(tenant_id: UUID, after: int, last: int) -> list[dict[str, Any]]:
    with tenant_scope(tenant_id):
        rows = AuditEntry.objects.filter(seq__gt=after, seq__lte=last).order_by("seq")[:PAGE]
        return [entry_json(row) for row in rows]


def _line(**record: Any) -> bytes:
    return json.dumps(record, ensure_ascii=False, separators=(",", ":")).encode() + b"\n"
