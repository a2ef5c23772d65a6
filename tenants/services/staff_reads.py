"""What staff looked at, in the log of the tenant whose it is."""

from uuid import UUID

from tenants.database.scope import tenant_scope
from tenants.services.audit import note


def note_read(*, tenant_id: UUID, actor: str, page: str) -> None:
    """One entry for each operator, kind of page and clock hour: enough to know, and no flood.
    Raises what the database raises: what cannot be logged must not be shown."""
    with tenant_scope(tenant_id):
        note(actor=actor, action="operator.read", target=page)
