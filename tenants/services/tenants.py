"""Makes tenants, members and keys."""

import hashlib
import re
import secrets
import uuid
from collections.abc import Iterable
from datetime import datetime

from django.db import IntegrityError, transaction
from django.utils import timezone

from tenants.access import KEY_PREFIX, digest_of, tenant_id_of
from tenants.actor import Actor
from tenants.database.scope import current_tenant_id, tenant_scope
from tenants.errors import Conflict, Invalid, NotFound, Refused, TenantGone
from tenants.models import ApiKey, Membership, Tenant, User
from tenants.roles import ALL_SCOPES, Role
from tenants.services.audit import record
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
    if role != Role.OWNER:
        raise Refused(
            "owner_needed",
            "Only an owner decides who must use a second factor.",
            fix="Ask an owner of your organisation.",
        )
    Tenant.objects.filter(id=current_tenant_id()).update(require_two_factor=required)
    record(actor=actor, action="tenant.two_factor", data={"required": required})


def create_user(*, email: str, password: str | None) -> User:
    """A person without any tenant. Raises Conflict when the address is taken."""
    try:
        with transaction.atomic():
            return User.objects.create_user(email, password)
    except IntegrityError:
        raise Conflict("email_taken", f"There is a user {email!r} already.") from None


def add_member(*, tenant_id: uuid.UUID, user: User, role: Role, actor: str) -> Membership:
    """Adds the person to the tenant, or changes the role of a member."""
    with tenant_scope(tenant_id):
        require_living(tenant_id)
        member, _ = Membership.objects.update_or_create(user=user, defaults={"role": role.value})
        record(actor=actor, action="member.add", target=user.email, data={"role": role.value})
    return member


def create_key(
    *,
    tenant_id: uuid.UUID,
    name: str,
    actor: str,
    scopes: Iterable[str] | None = None,
    expires_at: datetime | None = None,
) -> tuple[ApiKey, str]:
    """A key and its secret, which is shown once and kept nowhere. Raises Invalid."""
    wanted = frozenset(ALL_SCOPES if scopes is None else scopes)
    unknown = sorted(wanted - ALL_SCOPES)
    if unknown:
        raise Invalid(
            "unknown_scope",
            f"Unknown scope {unknown[0]!r}.",
            fix=f"Known scopes: {', '.join(sorted(ALL_SCOPES))}.",
            param="scopes",
        )
    prefix = secrets.token_hex(6)
    secret = f"{KEY_PREFIX}{prefix}-{secrets.token_urlsafe(32)}"
    with tenant_scope(tenant_id):
        require_living(tenant_id)
        key = ApiKey.objects.create(
            name=name,
            prefix=prefix,
            digest=digest_of(secret),
            scopes=sorted(wanted),
            expires_at=expires_at,
        )
        record(
            actor=actor,
            action="key.create",
            target=prefix,
            data={"name": name, "scopes": key.scopes},
        )
    return key, secret


def revoke_key(*, tenant_id: uuid.UUID, key_id: uuid.UUID, actor: str) -> None:
    """Raises NotFound; revoking twice is no error."""
    with tenant_scope(tenant_id):
        key = ApiKey.objects.filter(id=key_id).first()
        if key is None:
            raise NotFound("key_not_found", "There is no such key.")
        if key.revoked_at is None:
            key.revoked_at = timezone.now()
            key.save(update_fields=["revoked_at"])
            record(actor=actor, action="key.revoke", target=key.prefix)


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


def require_living(tenant_id: uuid.UUID) -> None:
    """Inside the tenant's scope. Raises TenantGone (410) once its key is destroyed."""
    if Tenant.objects.filter(id=tenant_id, shredding_at__isnull=False).exists():
        raise TenantGone
