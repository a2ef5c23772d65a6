"""Writes the tenant's audit chain: each entry's digest covers the one before, so that a changed,
removed or reordered entry shows."""

import hashlib
import json
from typing import Any

from django.db import connection
from django.utils import timezone

from tenants.database.scope import current_tenant_id
from tenants.models import AuditEntry


def record(
    *, actor: str, action: str, target: str = "", data: dict[str, Any] | None = None
) -> None:
    """Appends to the open scope's tenant, in the caller's transaction: no change without its entry,
    no entry without its change."""
    with connection.cursor() as cursor:
        # Entries of one tenant are written one after the other: seq and previous must not race.
        cursor.execute(
            "SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))",
            [f"audit:{current_tenant_id()}"],
        )
    last = AuditEntry.objects.order_by("-seq").values_list("seq", "digest").first()
    seq, previous = (last[0] + 1, last[1]) if last else (1, "")
    at = timezone.now().isoformat(timespec="microseconds")
    body = {"actor": actor, "action": action, "target": target, "data": data or {}, "at": at}
    AuditEntry.objects.create(
        seq=seq, previous=previous, digest=link_digest(seq, previous, body), **body
    )


def link_digest(seq: int, previous: str, body: dict[str, Any]) -> str:
    """SHA-256 over canonical JSON of the entry, its number and the digest before it."""
    canonical = json.dumps(
        {"seq": seq, "previous": previous, **body},
        sort_keys=True,
        separators=(",", ":"),
        ensure_ascii=False,
    )
    return hashlib.sha256(canonical.encode()).hexdigest()


def first_broken_link() -> int | None:
    """The seq of the first entry of the open scope's chain that does not fit, or None."""
    previous, expected = "", 1
    for entry in AuditEntry.objects.order_by("seq").iterator():
        body = {key: getattr(entry, key) for key in ("actor", "action", "target", "data", "at")}
        fits = entry.seq == expected and entry.previous == previous
        if not fits or entry.digest != link_digest(entry.seq, previous, body):
            return int(entry.seq)
        previous, expected = entry.digest, expected + 1
    return None
