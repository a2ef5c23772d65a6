"""What the operator does to tenants: makes them with their first owner and key, and shreds them.

Nothing here asks for rights; a request of a customer goes to members, invitations and keys.
"""

import hashlib
import re
import uuid
from collections.abc import Iterable
from datetime import datetime

from django.utils import timezone

from tenants.access import require_living, require_owner, tenant_id_of
from tenants.actor import Actor
from tenants.database.scope import current_tenant_id, tenant_scope
from tenants.errors import Conflict, Invalid, NotFound
from tenants.models import ApiKey, Membership, Tenant, User
from tenants.names import readable
from tenants.networks import read_networks
from tenants.roles import ALL_SCOPES, Role
from tenants.services.audit import record
from tenants.services.key_lines import end_key
from tenants.services.keys import issue_key, known_scopes
from tenants.services.vaults import master_key
from tenants.vault.keys import new_tenant_key

SLUG = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,38}[a-z0-9])?")


def create_tenant(*, slug: str, name: str, actor: str) -> Tenant:
    """A tenant with its own fresh key. Raises Invalid, or Conflict when the slug is taken."""
    if not SLUG.fullmatch(slug):
        raise Invalid(
            "invalid_slug",
            f"{slug!r} is no usable short name.",
            fix="Use 1 to 40 lower-case letters, digits and hyphens, e.g. `city-of-basel`.",
            param="slug",
        )
    name = readable(name, param="name")
    if tenant_id_of(slug) is not None:
        raise Conflict("slug_taken", f"There is a tenant {slug!r} already.", param="slug")
    tenant_id = uuid.uuid4()
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.create(
            id=tenant_id, slug=slug, name=name, wrapped_key=new_tenant_key(master_key(), tenant_id)
        )
        record(actor=actor, action="tenant.create", target=slug, data={"name": name})
    return tenant


def find_tenant(*, slug: str) -> uuid.UUID:
    """Raises NotFound naming the slug."""
    tenant_id = tenant_id_of(slug)
    if tenant_id is None:
        raise NotFound(
            "tenant_not_found",
            f"There is no tenant {slug!r}.",
            fix="Make it with `privatune tenant create`.",
        )
    return tenant_id


def require_two_factor(*, required: bool, role: Role, actor: str) -> None:
    """Whether members of the open scope's tenant must use a second factor. Raises Refused for
    anybody but an owner."""
    require_owner(role, "who must use a second factor")
    Tenant.objects.filter(id=current_tenant_id()).update(require_two_factor=required)
    record(actor=actor, action="tenant.two_factor", data={"required": required})


def add_member(*, tenant_id: uuid.UUID, user: User, role: Role, actor: str) -> Membership:
    """The operator's way in, for a tenant's first owner: everybody else is invited. Adds the
    person to the tenant, or changes the role of a member."""
    with tenant_scope(tenant_id):
        require_living(tenant_id)
        member, _ = Membership.objects.update_or_create(user=user, defaults={"role": role.value})
        data = {"role": role.value, "user_id": str(user.id)}
        record(actor=actor, action="member.add", target=user.email, data=data)
    return member


def find_member(*, tenant_id: uuid.UUID, email: str) -> Membership:
    """Raises NotFound naming the address."""
    with tenant_scope(tenant_id):
        found = Membership.objects.filter(user__email__iexact=email).first()
    if found is None:
        raise NotFound(
            "member_not_found", f"{email!r} is no member of this tenant.", param="member"
        )
    return found


def keys_of(*, tenant_id: uuid.UUID) -> list[ApiKey]:
    """With their members, newest first."""
    with tenant_scope(tenant_id):
        found = ApiKey.objects.select_related("created_by__user")
        return list(found.order_by("-created_at"))


def create_key(
    *,
    tenant_id: uuid.UUID,
    name: str,
    actor: str,
    scopes: Iterable[str] | None = None,
    expires_at: datetime | None = None,
    member: Membership | None = None,
    allowed_addresses: Iterable[str] = (),
) -> tuple[ApiKey, str]:
    """The operator's way to a key and its secret, which is shown once and kept nowhere. Without
    `member` it is a service key. Raises Invalid."""
    wanted = ALL_SCOPES if scopes is None else known_scopes(scopes)
    networks = read_networks(allowed_addresses)
    with tenant_scope(tenant_id):
        require_living(tenant_id)
        return issue_key(
            name=name,
            scopes=wanted,
            member_id=member.id if member else None,
            expires_at=expires_at,
            networks=networks,
            actor=actor,
        )


def revoke_key(*, tenant_id: uuid.UUID, key_id: uuid.UUID, actor: str) -> list[ApiKey]:
    """The operator's. The keys that it made, which ended with it. Raises NotFound; revoking twice
    is no error."""
    with tenant_scope(tenant_id):
        key = ApiKey.objects.filter(id=key_id).first()
        if key is None:
            raise NotFound("key_not_found", "There is no such key.")
        return end_key(key=key, actor=actor)


def destroy_key(*, tenant_id: uuid.UUID, actor: Actor, found: dict[str, int]) -> Tenant:
    """Destroys the tenant's key and revokes its API keys; nobody is let in from then on.

    From that commit its objects, backups of them included, are noise. `found` is what there was
    to destroy, for the certificate. Done once: later calls change nothing.
    """
    with tenant_scope(tenant_id):
        tenant = Tenant.objects.select_for_update().get(id=tenant_id)
        if tenant.shredding_at is not None:
            return tenant
        key = hashlib.sha256(bytes(tenant.wrapped_key or b"")).hexdigest()
        tenant.shredding_at = timezone.now()
        tenant.certificate = {"key_fingerprint": f"sha256:{key}", "destroyed": found}
        tenant.wrapped_key = None
        tenant.save(update_fields=["shredding_at", "certificate", "wrapped_key"])
        ApiKey.objects.filter(revoked_at=None).update(revoked_at=tenant.shredding_at)
        record(actor=actor, action="tenant.shred", target=tenant.slug, data=tenant.certificate)
    return tenant
