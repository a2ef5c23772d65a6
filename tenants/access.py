"""Who is asking: an API key or a signed-in person, reduced to tenant, actor, role and scopes.

Reads only. `tenants.services.keys.admit_key` is the door for requests: it also notes the use.
"""

import hashlib
import hmac
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Any
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import NotAuthenticated, NotFound, Refused, TenantGone
from tenants.models import Tenant, TenantOwned
from tenants.networks import is_within
from tenants.roles import (
    GIVES,
    ROLE_SCOPES,
    SERVICE_ROLE,
    Role,
    Scope,
    effective,
    may_give,
    may_touch,
)

KEY_PREFIX = "pt-"


@dataclass(frozen=True)
class Rates:
    """Requests a minute that the operator lets one tenant, and each of its keys, make; None: what
    the settings say."""

    tenant: int | None = None
    key: int | None = None


@dataclass(frozen=True)
class Principal:
    """Somebody in a tenant. `actor` is what the audit trail shows: `key:<name>` or an e-mail
    address, with the ids. `role` bounds what may be given to others; `membership_id` is None for a
    service key."""

    tenant_id: UUID
    actor: Actor
    scopes: frozenset[str]
    role: Role
    membership_id: UUID | None = None
    rates: Rates = Rates()

    @property
    def user_id(self) -> UUID | None:
        return self.actor.user_id

    @property
    def key_id(self) -> UUID | None:
        return self.actor.key_id

    def at(self, address: str) -> "Principal":
        """The same, asking from that network address."""
        return replace(self, actor=self.actor.at(address))

    def require(self, scope: Scope) -> None:
        """Raises Refused (403) naming the scope that is missing."""
        if scope not in self.scopes:
            raise Refused(
                "missing_scope",
                f"This needs the scope `{scope.value}`, which your key or role does not have.",
                fix="Use a key with that scope, or ask an owner or admin of your organisation.",
            )

    def require_of(self, scope: Scope, row: TenantOwned) -> None:
        """What is asked before a row's bytes leave: the scope, and that the row is theirs. Raises
        Refused, and NotFound (404) as for a row that does not exist."""
        self.require(scope)
        if row.tenant_id != self.tenant_id:
            raise NotFound(row.public.missing, f"No such {row.public.noun}.")

    def require_touching(self, role: Role) -> None:
        """Raises Refused when members of that role are not theirs to change, remove or revoke."""
        self.require(Scope.TENANT_WRITE)
        if not may_touch(self.role, self.scopes, role):
            raise Refused(
                "role_beyond_own",
                f"A member of the role `{role.value}` is not yours to change.",
                fix="Only an owner changes an owner; ask one.",
            )

    def require_giving(self, role: Role) -> None:
        """Raises Refused when the role is not theirs to give."""
        self.require(Scope.TENANT_WRITE)
        if may_give(self.role, self.scopes, role):
            return
        lacking = sorted(ROLE_SCOPES[role] - self.scopes)
        reason = (
            f"it holds the scope `{lacking[0]}`, which you do not have yourself"
            if role in GIVES[self.role]
            else "only an owner gives it"
        )
        raise Refused(
            "role_beyond_own",
            f"The role `{role.value}` is not yours to give: {reason}.",
            fix="Give a role that is within your own, or ask an owner.",
            param="role",
        )

    def require_passing_on(self, scopes: frozenset[str]) -> None:
        """Raises Refused naming a scope that they lack themselves."""
        beyond = sorted(scopes - self.scopes)
        if beyond:
            raise Refused(
                "scope_beyond_own",
                f"You do not have the scope `{beyond[0]}` yourself.",
                fix="Keys and people pass on their own scopes only.",
                param="scopes",
            )


@dataclass(frozen=True)
class Belonging:
    """One membership of a person, as the tenant switcher shows it."""

    tenant_id: UUID
    membership_id: UUID
    user_id: UUID
    role: Role
    slug: str
    name: str
    require_two_factor: bool

    def principal(self, email: str) -> Principal:
        actor = Actor.person(email, self.user_id)
        scopes: frozenset[str] = frozenset(ROLE_SCOPES[self.role])
        return Principal(self.tenant_id, actor, scopes, self.role, self.membership_id)


@dataclass(frozen=True)
class Key:
    """An API key as the database has it now, with the member whose it is.

    `expires_at`, `revoked_at` and `networks` are those of its whole line, of the keys that made it
    as well: the earliest, and for each key that has networks a text of them with spaces between.
    `generation` is the length of that line, 1 for a key that no key made.
    """

    tenant_id: UUID
    key_id: UUID
    name: str
    digest: str
    previous_digest: str
    previous_until: datetime | None
    scopes: list[str]
    service: bool
    networks: list[str]
    generation: int
    seen_from: list[str]
    last_used_at: datetime | None
    expires_at: datetime | None
    revoked_at: datetime | None
    membership_id: UUID | None
    role: str | None
    user_id: UUID | None
    person_active: bool | None
    tenant_requests: int | None
    key_requests: int | None

    @property
    def alive(self) -> bool:
        """Neither revoked nor expired, and its member, if it has one, still is one."""
        return not self.ended and (self.service or bool(self.role and self.person_active))

    @property
    def ended(self) -> bool:
        """Whether it, or a key of its line, is revoked or expired."""
        return bool(
            self.revoked_at or (self.expires_at is not None and self.expires_at <= timezone.now())
        )

    @property
    def principal(self) -> Principal:
        role = Role(self.role) if self.role else SERVICE_ROLE
        actor = Actor.key(self.name, self.key_id, self.user_id)
        rates = Rates(self.tenant_requests, self.key_requests)
        return Principal(
            self.tenant_id, actor, effective(self.scopes, role), role, self.membership_id, rates
        )

    def opens_with(self, secret: str) -> bool:
        """Whether it is this key's secret, or the previous one while a rotation goes on."""
        given = digest_of(secret)
        if hmac.compare_digest(self.digest, given):
            return True
        rotating = self.previous_until is not None and self.previous_until > timezone.now()
        return rotating and hmac.compare_digest(self.previous_digest, given)

    def allows(self, address: str) -> bool:
        return all(is_within(address, each.split()) for each in self.networks)


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def find_key(secret: str) -> Key:
    """The living key of that secret. Raises NotAuthenticated (401), the same for every wrong
    one, and TenantGone (410) for a key of a tenant that was shredded; from where it may be used is
    for the caller to ask."""
    prefix, _, rest = secret.removeprefix(KEY_PREFIX).partition("-")
    key = None
    if secret.startswith(KEY_PREFIX) and rest:
        key = _read_key("SELECT * FROM privatune_key(%s)", prefix)
    if key is not None and key.revoked_at and key.opens_with(secret):
        with tenant_scope(key.tenant_id):  # its holder may know why no key works any more
            require_living(key.tenant_id)
    if key is None or not key.opens_with(secret) or not key.alive:
        raise NotAuthenticated(
            "invalid_api_key",
            "The API key is wrong, expired or revoked.",
            fix="Send `Authorization: Bearer <key>` with a key made in the portal or by "
            "`privatune key create`.",
        )
    if not hmac.compare_digest(key.digest, digest_of(secret)):
        # Renewing ends what a thief can do with the old one: with it the key could be renewed again
        return replace(key, scopes=[each for each in key.scopes if each != Scope.TENANT_WRITE])
    return key


def key_now(key_id: UUID) -> Key | None:
    return _read_key("SELECT * FROM privatune_key_now(%s)", key_id)


def authenticate_key(secret: str) -> Principal:
    """The principal of an API key. Raises NotAuthenticated (401)."""
    return find_key(secret).principal


def still_allowed(principal: Principal, scope: Scope | None = None) -> bool:
    """Whether the key or person may still do what it began, asked of the database now: one
    statement, outside any scope. For whatever goes on for long: streams, long downloads."""
    if principal.key_id is not None:
        key = key_now(principal.key_id)
        scopes = key.principal.scopes if key is not None and key.alive else None
    else:
        assert principal.user_id is not None
        belongings = belongings_of(principal.user_id)
        role = next((b.role for b in belongings if b.tenant_id == principal.tenant_id), None)
        scopes = frozenset(ROLE_SCOPES[role]) if role else None
    return scopes is not None and (scope is None or scope in scopes)


def _read_key(statement: str, wanted: Any) -> Key | None:
    with connection.cursor() as cursor:
        cursor.execute(statement, [wanted])
        row = cursor.fetchone()
        names = [column.name for column in cursor.description]
    return Key(**dict(zip(names, row, strict=True))) if row else None


def require_living(tenant_id: UUID) -> None:
    """Inside the tenant's scope. Raises TenantGone (410) once its key is destroyed."""
    if Tenant.objects.filter(id=tenant_id, shredding_at__isnull=False).exists():
        raise TenantGone


def require_owner(role: Role, decides: str) -> None:
    """Raises Refused for anybody but an owner; `decides` says what only an owner may."""
    if role != Role.OWNER:
        raise Refused(
            "owner_needed",
            f"Only an owner decides {decides}.",
            fix="Ask an owner of your organisation.",
        )


def belongings_of(user_id: UUID) -> list[Belonging]:
    """Every tenant the person belongs to, by name."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, membership_id, role, slug, name, require_two_factor"
            " FROM privatune_memberships(%s)",
            [user_id],
        )
        return [
            Belonging(t, m, user_id, Role(r), s, n, two) for t, m, r, s, n, two in cursor.fetchall()
        ]


def tenant_id_of(slug: str) -> UUID | None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT privatune_tenant(%s)", [slug])
        row = cursor.fetchone()
    return row[0] if row else None
