"""Writes the tenant's audit chain: each entry's digest covers the one before, so that a changed,
removed or reordered entry shows."""

from typing import Any

from django.utils import timezone

from tenants.actor import actor_of
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.models import AuditEntry
from tenants.trail.chain import VERSION, link_digest


def record(
    *, actor: str, action: str, target: str = "", data: dict[str, Any] | None = None
) -> None:
    """Appends to the open scope's tenant, in the caller's transaction: no change without its entry,
    no entry without its change.

    ValueError for a person's address that carries no id (see `actor_of`).
    """
    who = actor_of(actor)
    # Entries of one tenant are written one after the other: seq and previous must not race.
    lock(f"audit:{current_tenant_id()}")
    last = AuditEntry.objects.order_by("-seq").values_list("seq", "digest").first()
    seq, previous = (last[0] + 1, last[1]) if last else (1, "")
    entry = AuditEntry(
        tenant_id=current_tenant_id(),
        seq=seq,
        version=VERSION,
        kind=who.kind,
        actor=who,
        user_id=who.user_id,
        key_id=who.key_id,
        action=action,
        target=target,
        data=data or {},
        at=timezone.now().isoformat(timespec="microseconds"),
        previous=previous,
    )
    entry.digest = link_digest(entry_json(entry))
    entry.save(force_insert=True)


def entry_json(entry: AuditEntry) -> dict[str, Any]:
    """The entry as it is hashed and exported: JSON values only."""
    return {
        "seq": entry.seq,
        "version": entry.version,
        "tenant": str(entry.tenant_id),
        "kind": entry.kind,
        "actor": entry.actor,
        "user_id": str(entry.user_id) if entry.user_id else None,
        "key_id": str(entry.key_id) if entry.key_id else None,
        "action": entry.action,
        "target": entry.target,
        "data": entry.data,
        "at": entry.at,
        "previous": entry.previous,
        "digest": entry.digest,
    }


def first_broken_link() -> int | None:
    """The seq of the first entry of the open scope's chain that does not fit, or None."""
    previous, expected, version = "", 1, 1
    for entry in AuditEntry.objects.order_by("seq").iterator():
        fits = entry.seq == expected and entry.previous == previous
        # A later entry under an older rule would be one whose ids nothing covers.
        fits = fits and version <= entry.version <= VERSION
        if not fits or entry.digest != link_digest(entry_json(entry)):
            return int(entry.seq)
        previous, expected, version = entry.digest, expected + 1, entry.version
    return None
