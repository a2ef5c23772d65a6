"""What staff looked at, in the log of the tenant whose it is."""

from uuid import UUID

from django.utils import timezone

from tenants.actor import actor_of
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tenants.services.audit import record

ACTION = "operator.read"


def note_read(*, tenant_id: UUID, actor: str, page: str) -> None:
    """One entry for each operator, kind of page and clock hour: enough to know, and no flood.
    Raises what the database raises: what cannot be logged must not be shown."""
    who = actor_of(actor)
    since = timezone.now().replace(minute=0, second=0, microsecond=0)
    with tenant_scope(tenant_id):
        noted = AuditEntry.objects.filter(
            action=ACTION, target=page, actor=str(who), user_id=who.user_id, created_at__gte=since
        )
        if not noted.exists():
            record(actor=who, action=ACTION, target=page)
