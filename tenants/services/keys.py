"""API keys: made, rotated and revoked. A key never reaches beyond whoever it belongs to, nor beyond
the key that made it, and ends with that one."""

import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime, timedelta

from django.utils import timezone

from tenants.access import KEY_PREFIX, Key, Principal, digest_of, key_now
from tenants.errors import Conflict, Invalid, NotAuthenticated, NotFound, Refused
from tenants.models import ApiKey
from tenants.names import readable
from tenants.networks import are_within, read_networks
from tenants.roles import ALL_SCOPES, SERVICE_KEY_MAKERS, SERVICE_ROLE, Role, Scope
from tenants.services.audit import record
from tenants.services.key_lines import MOST_GENERATIONS, end_key, made_by

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
    belongs to nobody and is made by an owner only. One made by a key ends with that key. Raises
    Invalid, and Refused for what is beyond the asker's own scopes, expiry or addresses.
    """
    if by.key_id is not None:
        by.require(Scope.TENANT_WRITE)
    if service or by.membership_id is None:
        require_owner_for_service(by)
    wanted = by.scopes if scopes is None else known_scopes(scopes)
    networks = read_networks(allowed_addresses)
    require_to_come(expires_at)
    by.require_passing_on(wanted)
    if by.key_id is not None:
        _require_room_in_line(by.key_id)
    _require_within_own_key(by, expires_at, networks)
    return issue_key(
        name=name,
        scopes=wanted,
        member_id=None if service else by.membership_id,
        expires_at=expires_at,
        networks=networks,
        actor=by.actor,
        made_with=by.key_id,
    )


def issue_key(
    *,
    name: str,
    scopes: Iterable[str],
    member_id: uuid.UUID | None,
    actor: str,
    expires_at: datetime | None = None,
    networks: Iterable[str] = (),
    made_with: uuid.UUID | None = None,
) -> tuple[ApiKey, str]:
    """Writes the key, asking nobody: for `make_key` and for the operator. In the open scope.

    `member_id` None makes a service key; `made_with` is the key that asked for it. Raises Invalid
    for a name that cannot be read.
    """
    name = readable(name, param="name")
    prefix = secrets.token_hex(6)
    secret = _new_secret(prefix)
    key = ApiKey.objects.create(
        name=name,
        prefix=prefix,
        digest=digest_of(secret),
        scopes=sorted(scopes),
        created_by_id=member_id,
        service=member_id is None,
        made_with_id=made_with,
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

    Only whose key it is gets its secret; a service key's, an owner or the key itself. A key
    rotates itself and those of its line, or its holder would keep a secret that outlives it. Raises
    NotFound, Conflict for a key that has ended, Invalid, and Refused.
    """
    if not timedelta(0) <= overlap <= LONGEST_OVERLAP:
        raise Invalid(
            "invalid_overlap",
            f"The old secret can live on for 0 to {LONGEST_OVERLAP.days} days.",
            param="overlap_seconds",
        )
    key = locked_key(key_id)
    if by.key_id is not None:
        by.require(Scope.TENANT_WRITE)
        _require_in_line(by.key_id, key)
    else:
        _require_holder(by, key)
        by.require_passing_on(frozenset(key.scopes))
    require_not_ended(key)
    secret = _new_secret(key.prefix)
    key.previous_digest, key.previous_until = key.digest, timezone.now() + overlap
    key.digest = digest_of(secret)
    key.save(update_fields=["digest", "previous_digest", "previous_until"])
    until = key.previous_until.isoformat()
    record(actor=by.actor, action="key.rotate", target=key.prefix, data={"previous_until": until})
    return key, secret


def revoke_key(*, by: Principal, key_id: uuid.UUID) -> tuple[ApiKey, list[ApiKey]]:
    """Ends the key, the keys of its line and the open invitations made with any of them; twice is
    no error. The key, and those that ended with it. Its member may, and whoever may change that
    member. Raises NotFound and Refused. In the open scope."""
    key = locked_key(key_id)
    require_touching_key(by, key)
    return key, end_key(key=key, actor=by.actor)


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


def locked_key(key_id: uuid.UUID) -> ApiKey:
    """The row, locked, with its member. Raises NotFound."""
    keys = ApiKey.objects.select_for_update(of=("self",)).select_related("created_by")
    key = keys.filter(id=key_id).first()
    if key is None:
        raise NotFound("key_not_found", "No such key.")
    return key


def require_touching_key(by: Principal, key: ApiKey) -> None:
    """Raises Refused when the key is neither their own nor that of a member who is theirs to
    change."""
    own = by.membership_id is not None and by.membership_id == key.created_by_id
    if not own or by.key_id is not None:
        by.require_touching(Role(key.created_by.role) if key.created_by else SERVICE_ROLE)


def require_not_ended(key: ApiKey) -> None:
    """Raises Conflict for a key that is revoked or expired, by itself or by its line."""
    now = key_now(key.id)
    assert now is not None
    if now.ended:
        raise Conflict("key_ended", "The key is revoked or expired.", fix="Make a new key.")


def require_to_come(expires_at: datetime | None) -> None:
    """Raises Invalid for an expiry that has passed."""
    if expires_at is not None and expires_at <= timezone.now():
        raise Invalid(
            "expiry_past",
            f"{expires_at.isoformat()} has passed already.",
            fix="Give a time to come; to end a key now, revoke it.",
            param="expires_at",
        )


def require_owner_for_service(by: Principal) -> None:
    if by.role not in SERVICE_KEY_MAKERS:
        raise Refused(
            "service_key_by_owner",
            "Only an owner makes and rotates service keys, or gives them more time or networks.",
            fix="Ask an owner, or make a key of your own in the portal.",
        )


def _require_holder(by: Principal, key: ApiKey) -> None:
    if key.service:
        require_owner_for_service(by)
    elif by.membership_id is None or by.membership_id != key.created_by_id:
        raise Refused(
            "key_of_another",
            "This key belongs to somebody else, and so does its secret.",
            fix="Revoke it, and let its member make a new one.",
        )


def _require_in_line(asking: uuid.UUID, key: ApiKey) -> None:
    maker = ApiKey.objects.get(id=asking)
    if key.id != maker.id and key.id not in {each.id for each in made_by(maker)}:
        raise Refused(
            "key_of_another",
            "A key gets new secrets for itself and for the keys that it made.",
            fix="Rotate this one in the portal, or with itself.",
        )


def _require_room_in_line(asking: uuid.UUID) -> None:
    """Locked, so that the maker cannot end between being asked and having made."""
    locked_key(asking)
    maker = key_now(asking)
    if maker is None or not maker.alive:
        raise NotAuthenticated("invalid_api_key", "The API key was revoked or expired meanwhile.")
    if maker.generation >= MOST_GENERATIONS:
        raise Refused(
            "line_of_keys_too_long",
            f"This key is the {MOST_GENERATIONS}th of a line in which each made the next.",
            fix="Make the key in the portal, or with one of those that made this one.",
        )


def _require_within_own_key(
    by: Principal, expires_at: datetime | None, networks: Iterable[str]
) -> None:
    """A key that ends, or works from some networks only, makes none that lives longer or wider."""
    if by.key_id is not None:
        own = key_now(by.key_id)
        assert own is not None
        require_end_within(own, expires_at)
        require_networks_within(own, networks)


def require_end_within(outer: Key, expires_at: datetime | None) -> None:
    """Raises Refused for an expiry after that of `outer` and its line."""
    if outer.expires_at and (expires_at is None or expires_at > outer.expires_at):
        raise Refused(
            "expiry_beyond_own",
            f"The key {outer.name!r} ends at {outer.expires_at.isoformat()}, "
            "and so must this one by then.",
            param="expires_at",
        )


def require_networks_within(outer: Key, networks: Iterable[str]) -> None:
    """Raises Refused for networks beyond those of `outer` and its line; none are all."""
    wanted = list(networks)
    if not all(wanted and are_within(wanted, each.split()) for each in outer.networks):
        raise Refused(
            "addresses_beyond_own",
            f"The key {outer.name!r} works from its allowed networks only, and so must this one.",
            fix="Give `allowed_addresses` within that key's own.",
            param="allowed_addresses",
        )
