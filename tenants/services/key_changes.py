"""Changes a key that is in use: its name, its expiry, its networks. Its scopes stay what they are,
so no change gives a program more to do."""

import uuid
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any, TypedDict

from tenants.access import Principal, key_now
from tenants.errors import Invalid
from tenants.models import ApiKey
from tenants.names import readable
from tenants.networks import are_within, read_networks
from tenants.services.audit import record
from tenants.services.key_lines import made_by
from tenants.services.keys import (
    locked_key,
    require_end_within,
    require_networks_within,
    require_not_ended,
    require_owner_for_service,
    require_to_come,
    require_touching_key,
)

MOST_NAME = 80


class Changes(TypedDict, total=False):
    """What is left out stays as it is."""

    name: str
    expires_at: datetime | None
    allowed_addresses: Iterable[str]


@dataclass(frozen=True)
class _State:
    name: str
    expires_at: datetime | None
    networks: list[str]


def change_key(*, by: Principal, key_id: uuid.UUID, changes: Changes) -> ApiKey:
    """In the open scope. Whoever may revoke the key may make it end sooner or work from less.

    A later end or wider networks stay within the key that made it and, when a key asks, within
    that one; a service key's are an owner's to give. Keys of its line end no later than it.
    Raises NotFound, Invalid, Refused, and Conflict for a key that has ended.
    """
    key = locked_key(key_id)
    require_touching_key(by, key)
    require_not_ended(key)
    before = _State(key.name, key.expires_at, key.allowed_addresses)
    wanted = _changed(before, changes)
    if wanted == before:
        return key
    if wanted.expires_at != before.expires_at:
        require_to_come(wanted.expires_at)
    _require_giving(by, key, wanted)
    key.name, key.expires_at = wanted.name, wanted.expires_at
    key.allowed_addresses = wanted.networks
    key.save(update_fields=["name", "expires_at", "allowed_addresses"])
    data = _told(before, wanted) | _shorten_line(key)
    record(actor=by.actor, action="key.change", target=key.prefix, data=data)
    return key


def _changed(before: _State, changes: Changes) -> _State:
    name = changes.get("name", before.name).strip()
    if not 1 <= len(name) <= MOST_NAME:
        raise Invalid(
            "invalid_name", f"Say in 1 to {MOST_NAME} characters what the key is for.", param="name"
        )
    networks = changes.get("allowed_addresses")
    return _State(
        name if name == before.name else readable(name, param="name"),
        changes.get("expires_at", before.expires_at),
        before.networks if networks is None else read_networks(networks),
    )


def _require_giving(by: Principal, key: ApiKey, wanted: _State) -> None:
    """Asks about what is more than the key had."""
    later = _is_later(wanted.expires_at, key.expires_at)
    wider = _is_wider(wanted.networks, key.allowed_addresses)
    if key.service and (later or wider):
        require_owner_for_service(by)
    for outer_id in (by.key_id, key.made_with_id):
        outer = key_now(outer_id) if outer_id else None
        if outer and later:
            require_end_within(outer, wanted.expires_at)
        if outer and wider:
            require_networks_within(outer, wanted.networks)


def _is_later(wanted: datetime | None, had: datetime | None) -> bool:
    return had is not None and (wanted is None or wanted > had)


def _is_wider(wanted: list[str], had: list[str]) -> bool:
    """No networks at all are every network."""
    return bool(had) and not (wanted and are_within(wanted, had))


def _shorten_line(key: ApiKey) -> dict[str, Any]:
    """Writes into the keys that it made what their use would find anyway."""
    if key.expires_at is None:
        return {}
    ends = key.expires_at
    late = [
        each
        for each in made_by(key)
        if each.revoked_at is None and (each.expires_at is None or each.expires_at > ends)
    ]
    ApiKey.objects.filter(id__in=[each.id for each in late]).update(expires_at=ends)
    return {"shortened": [each.prefix for each in late]} if late else {}


def _told(before: _State, after: _State) -> dict[str, Any]:
    """What changed, as it was and as it is."""
    told: dict[str, Any] = {}
    if after.name != before.name:
        told["name"] = [before.name, after.name]
    if after.expires_at != before.expires_at:
        told["expires_at"] = [
            each and each.isoformat() for each in (before.expires_at, after.expires_at)
        ]
    if after.networks != before.networks:
        told["allowed_addresses"] = [before.networks, after.networks]
    return told
