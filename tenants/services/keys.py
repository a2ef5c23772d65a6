"""API keys: made, rotated, revoked, and let in. A key never reaches beyond whoever it belongs to,
nor beyond the key that made it."""

import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from tenants.access import KEY_PREFIX, Key, Principal, digest_of, find_key
from tenants.addresses import network_of
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, Invalid, NotFound, Refused
from tenants.models import ApiKey, Invitation
from tenants.networks import are_within, read_networks
from tenants.roles import ALL_SCOPES, SERVICE_KEY_MAKERS, SERVICE_ROLE, Role, Scope
from tenants.services.audit import record
from tenants.services.invitations import withdraw

USE_NOTED_EVERY = timedelta(minutes=1)
PLACES_KEPT = 50
OVERLAP = timedelta(days=1)  # both secrets live, unless told otherwise
LONGEST_OVERLAP = timedelta(days=30)


def make_key(
    *,
    by: Principal,
    name: str,
    scopes: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    allowed_addresses: Iterable[str] = (),
    service: bool = False,
) -> tuple[ApiKey, str]:
    """A key and its secret, which is shown once and kept nowhere. In the open scope.

    It belongs to the member who asks, in person or by a key with `tenant:write`; a service key
    belongs to nobody and is made by an owner only. Raises Invalid, and Refused for what is beyond
    the asker's own scopes, expiry or addresses.
    """
    if by.key_id is not None:
        by.require(Scope.TENANT_WRITE)
    if service or by.membership_id is None:
        _require_owner(by)
    wanted = by.scopes if scopes is None else known_scopes(scopes)
    networks = read_networks(allowed_addresses)
    by.require_passing_on(wanted)
    _require_within_own_key(by, expires_at, networks)
    return issue_key(
        name=name,
        scopes=wanted,
        member_id=None if service else by.membership_id,
        expires_at=expires_at,
        networks=networks,
        actor=by.actor,
    )


def issue_key(
    *,
    name: str,
    scopes: Iterable[str],
    member_id: uuid.UUID | None,
    actor: str,
    expires_at: datetime | None = None,
    networks: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """Writes the key, asking nobody: for `make_key` and for the operator. In the open scope.

    `member_id` None makes a service key.
    """
    prefix = secrets.token_hex(6)
    secret = _new_secret(prefix)
    key = ApiKey.objects.create(
        name=name,
        prefix=prefix,
        digest=digest_of(secret),
        scopes=sorted(scopes),
        created_by_id=member_id,
        service=member_id is None,
        allowed_addresses=list(networks),
        expires_at=expires_at,
    )
    data = {
        "name": name,
        "scopes": key.scopes,
        "service": key.service,
        "expires_at": expires_at.isoformat() if expires_at else None,
        "allowed_addresses": key.allowed_addresses,
    }
    record(actor=actor, action="key.create", target=prefix, data=data)
    return key, secret


def rotate_key(
    *, by: Principal, key_id: uuid.UUID, overlap: timedelta = OVERLAP
) -> tuple[ApiKey, str]:
    """A new secret for the key; the one before lives on for `overlap`, an older one ends now.

    Only whose key it is gets its secret; a service key's, an owner or the key itself. Raises
    NotFound, Conflict for a key that has ended, Invalid, and Refused.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise Invalid(
            "invalid_overlap",
            f"The old secret can live on for 0 to {LONGEST_OVERLAP.days} days.",
            param="overlap_seconds",
        )
    key = _locked(key_id)
    if by.key_id != key.id:
        _require_holder(by, key)
        by.require_passing_on(frozenset(key.scopes))
        _require_within_own_key(by, key.expires_at, key.allowed_addresses)
    if by.key_id is not None:
        by.require(Scope.TENANT_WRITE)
    now = timezone.now()
    if key.revoked_at or (key.expires_at and key.expires_at <= now):
        raise Conflict("key_ended", "The key is revoked or expired.", fix="Make a new key.")
    secret = _new_secret(key.prefix)
    key.previous_digest, key.previous_until = key.digest, now + overlap
    key.digest = digest_of(secret)
    key.save(update_fields=["digest", "previous_digest", "previous_until"])
    until = key.previous_until.isoformat()
    record(actor=by.actor, action="key.rotate", target=key.prefix, data={"previous_until": until})
    return key, secret


def revoke_key(*, by: Principal, key_id: uuid.UUID) -> ApiKey:
    """Ends the key and the open invitations made with it; twice is no error. Its member may, and
    whoever may change that member. Raises NotFound and Refused. In the open scope."""
    key = _locked(key_id)
    own = by.membership_id is not None and by.membership_id == key.created_by_id
    if not own or by.key_id is not None:
        by.require_touching(Role(key.created_by.role) if key.created_by else SERVICE_ROLE)
    end_key(key=key, actor=by.actor)
    return key


def end_key(*, key: ApiKey, actor: str) -> None:
    """Revokes it, and the open invitations made with it, asking nobody."""
    if key.revoked_at is not None:
        return
    key.revoked_at = timezone.now()
    key.save(update_fields=["revoked_at"])
    record(actor=actor, action="key.revoke", target=key.prefix, data={"name": key.name})
    withdraw(invitations=Invitation.objects.filter(invited_with=key), actor=actor)


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


def known_scopes(scopes: Iterable[str]) -> frozenset[str]:
    """Raises Invalid naming one that does not exist, and for none at all."""
    wanted = frozenset(scopes)
    unknown = sorted(wanted - ALL_SCOPES)
    if unknown or not wanted:
        raise Invalid(
            "unknown_scope",
            f"Unknown scope {unknown[0]!r}." if unknown else "A key needs a scope.",
            fix=f"Known scopes: {', '.join(sorted(ALL_SCOPES))}.",
            param="scopes",
        )
    return wanted


def _new_secret(prefix: str) -> str:
    return f"{KEY_PREFIX}{prefix}-{secrets.token_urlsafe(32)}"


def _locked(key_id: uuid.UUID) -> ApiKey:
    keys = ApiKey.objects.select_for_update(of=("self",)).select_related("created_by")
    key = keys.filter(id=key_id).first()
    if key is None:
        raise NotFound("key_not_found", "No such key.")
    return key


def _require_owner(by: Principal) -> None:
    if by.role not in SERVICE_KEY_MAKERS:
        raise Refused(
            "service_key_by_owner",
            "Only an owner makes and rotates keys that belong to nobody.",
            fix="Ask an owner, or make a key of your own in the portal.",
        )


def _require_holder(by: Principal, key: ApiKey) -> None:
    if key.service:
        _require_owner(by)
    elif by.membership_id is None or by.membership_id != key.created_by_id:
        raise Refused(
            "key_of_another",
            "This key belongs to somebody else, and so does its secret.",
            fix="Revoke it, and let its member make a new one.",
        )


def _require_within_own_key(
    by: Principal, expires_at: datetime | None, networks: Iterable[str]
) -> None:
    """A key that ends, or works from some networks only, makes none that lives longer or wider."""
    if by.key_id is None:
        return
    own = ApiKey.objects.get(id=by.key_id)
    if own.expires_at and (expires_at is None or expires_at > own.expires_at):
        raise Refused(
            "expiry_beyond_own",
            f"Your key expires at {own.expires_at.isoformat()}, and so must this one by then.",
            param="expires_at",
        )
    inside = bool(networks) and are_within(networks, own.allowed_addresses)
    if own.allowed_addresses and not inside:
        raise Refused(
            "addresses_beyond_own",
            "Your key works from its allowed networks only, and so must this one.",
            fix="Give `allowed_addresses` within your key's own.",
            param="allowed_addresses",
        )
