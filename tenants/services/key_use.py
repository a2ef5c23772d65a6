"""API keys at the door: let in, and their use noted."""

from datetime import timedelta

from django.utils import timezone

from tenants.access import Key, Principal, find_key
from tenants.addresses import network_of
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import ApiKey
from tenants.services.audit import record

USE_NOTED_EVERY = timedelta(minutes=1)
PLACES_KEPT = 50


def admit_key(*, secret: str, address: str) -> Principal:
    """Whoever holds the secret, at the door: outside any scope.

    Notes the use, at most once a minute, and writes a new address to the audit trail. Raises
    NotAuthenticated (401), and Refused (403) from outside the key's allowed networks.
    """
    key = find_key(secret)
    allowed = key.allows(address)
    place = network_of(address) if allowed else f"!{network_of(address)}"
    stale = key.last_used_at is None or key.last_used_at < timezone.now() - USE_NOTED_EVERY
    if place not in key.seen_from or (allowed and stale):
        _note_use(key, place, address, allowed=allowed)
    if not allowed:
        raise Refused(
            "address_not_allowed",
            f"This key may not be used from {address}.",
            fix="Use it from its allowed networks, or have one added to the key.",
        )
    return key.principal.at(address)


def _note_use(key: Key, place: str, address: str, *, allowed: bool) -> None:
    with tenant_scope(key.tenant_id):
        row = ApiKey.objects.select_for_update().get(id=key.key_id)
        if allowed:
            row.last_used_at = timezone.now()
        if place not in row.seen_from:  # asked again under the lock: written once
            row.seen_from = [*row.seen_from, place][-PLACES_KEPT:]
            record(
                actor=key.principal.actor,
                action="key.new_address" if allowed else "key.refused_address",
                target=row.prefix,
                data={"address": address},
            )
        row.save(update_fields=["last_used_at", "seen_from"])
