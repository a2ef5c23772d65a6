"""Writes the tenant's audit chain: each entry's digest covers the one before, so that a changed,
removed or reordered entry shows."""

from typing import Any

from django.db.models import QuerySet
from django.utils import timezone

from tenants.actor import Actor, actor_of
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id
from tenants.models import AuditEntry
from tenants.trail.chain import VERSION, link_digest


def note(*, actor: str, action: str, target: str = "", data: dict[str, Any] | None = None) -> bool:
    """As `record`, once for each actor, action, target and clock hour: for what a program may do a
    thousand times, so that the trail neither grows nor slows with it. Whether it wrote one.
    """
    same = _of_this_hour(actor_of(actor), action, target)
    if same.exists():
        return False
    _wait_for_turn()
    if same.exists():  # another has written it meanwhile
        return False
    record(actor=actor, action=action, target=target, data=data)
    return True


def record(
    *, actor: str, action: str, target: str = "", data: dict[str, Any] | None = None
) -> None:
    """Appends to the open scope's tenant, in the caller's transaction: no change without its entry,
    no entry without its change.

    The actor's network address, where there is one, stands in `data`. ValueError for a person's
    address that carries no id (see `actor_of`).
    """
    who = actor_of(actor)
    _wait_for_turn()
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
        data=({"address": who.address} if who.address else {}) | (data or {}),
        at=timezone.now().isoformat(timespec="microseconds"),
        previous=previous,
    )
    entry.digest = link_digest(entry_json(entry))
    entry.save(force_insert=True)


def _wait_for_turn() -> None:
    """Entries of one tenant are written one after the other: seq and previous must not race."""
    lock(f"audit:{current_tenant_id()}")


def _of_this_hour(who: Actor, action: str, target: str) -> QuerySet[AuditEntry]:
    since = timezone.now().replace(minute=0, second=0, microsecond=0)
    by = {"kind": who.kind, "actor": str(who), "user_id": who.user_id, "key_id": who.key_id}
    return AuditEntry.objects.filter(action=action, target=target, created_at__gte=since, **by)


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
