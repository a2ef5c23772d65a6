"""Who is asking: an API key or a signed-in person, reduced to tenant, actor and scopes."""

import hashlib
import hmac
from dataclasses import dataclass
from uuid import UUID

from django.db import connection
from django.utils import timezone

from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import NotAuthenticated, Refused
from tenants.roles import ROLE_SCOPES, Role, Scope

KEY_PREFIX = "pt-"


@dataclass(frozen=True)
class Principal:
    """`actor` is what the audit trail shows: `key:<name>` or an e-mail address, with the ids."""

    tenant_id: UUID
    actor: Actor
    scopes: frozenset[str]

    def require(self, scope: Scope) -> None:
        """Raises Refused (403) naming the scope that is missing."""
        if scope not in self.scopes:
            raise Refused(
                "missing_scope",
                f"This needs the scope `{scope.value}`, which your key or role does not have.",
                fix="Use a key with that scope, or ask an owner or admin of your organisation.",
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
        return Principal(self.tenant_id, actor, frozenset(ROLE_SCOPES[self.role]))


def digest_of(secret: str) -> str:
    return hashlib.sha256(secret.encode()).hexdigest()


def authenticate_key(secret: str) -> Principal:
    """The principal of an API key. Raises NotAuthenticated (401), the same for every wrong key."""
    wrong = NotAuthenticated(
        "invalid_api_key",
        "The API key is wrong, expired or revoked.",
        fix="Send `Authorization: Bearer <key>` with a key made in the portal or by "
        "`privatune key create`.",
    )
    prefix, _, rest = secret.removeprefix(KEY_PREFIX).partition("-")
    if not secret.startswith(KEY_PREFIX) or not rest:
        raise wrong
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT tenant_id, key_id, digest, scopes, name, expires_at, revoked_at"
            " FROM privatune_key(%s)",
            [prefix],
        )
        row = cursor.fetchone()
    if row is None or not hmac.compare_digest(row[2], digest_of(secret)):
        raise wrong
    tenant_id, key_id, _digest, scopes, name, expires_at, revoked_at = row
    if revoked_at is not None:
        _refuse_if_gone(tenant_id)
    if revoked_at is not None or (expires_at is not None and expires_at <= timezone.now()):
        raise wrong
    return Principal(tenant_id, Actor.key(name, key_id), frozenset(scopes))


def _refuse_if_gone(tenant_id: UUID) -> None:
    """Whoever holds one of its keys may know why none works any more. Raises TenantGone (410)."""
    from tenants.services.tenants import require_living  # which authenticates by this module

    with tenant_scope(tenant_id):
        require_living(tenant_id)


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
