"""What the operator lets one tenant use, in place of the settings' defaults."""

from collections.abc import Mapping
from uuid import UUID

from tenants.access import require_living
from tenants.database.scope import tenant_scope
from tenants.errors import Invalid
from tenants.limits import FIELDS
from tenants.models import Tenant
from tenants.services.audit import record

LARGEST = 2**31 - 1  # what the column holds


def change_limits(*, tenant_id: UUID, changes: Mapping[str, int | None], actor: str) -> Tenant:
    """The operator's. `changes` names limits of `Limits`; None goes back to the settings' default.

    The tenant's log shows each change. Raises Invalid, and TenantGone for one that was shredded.
    """
    for name, value in changes.items():
        if value is not None and not 1 <= value <= LARGEST:
            raise Invalid(
                "invalid_limit",
                f"{name} must be 1 to {LARGEST}, not {value}.",
                fix="Give a number in that range, or `default`.",
                param=name,
            )
    with tenant_scope(tenant_id):
        require_living(tenant_id)
        tenant = Tenant.objects.select_for_update().get(id=tenant_id)
        before = {name: getattr(tenant, FIELDS[name]) for name in changes}
        changed = {name: new for name, new in changes.items() if new != before[name]}
        if changed:
            for name, new in changed.items():
                setattr(tenant, FIELDS[name], new)
            tenant.save(update_fields=[FIELDS[name] for name in changed])
            data = {name: {"from": before[name], "to": new} for name, new in changed.items()}
            record(actor=actor, action="tenant.limits", target=tenant.slug, data=data)
    return tenant
