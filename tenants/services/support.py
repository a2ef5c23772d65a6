"""An owner lets the operator look at the tenant's jobs for some hours, and takes it back."""

from datetime import timedelta

from django.utils import timezone

from tenants.access import require_owner
from tenants.errors import Invalid
from tenants.models import SupportConsent
from tenants.roles import Role
from tenants.services.audit import record

MOST_HOURS = 7 * 24
DECIDES = "whether the operator may look at your jobs"


def grant_support(*, hours: int, reason: str, role: Role, actor: str) -> SupportConsent:
    """In the open scope; replaces a consent that stands. Raises Refused for anybody but an owner,
    and Invalid."""
    require_owner(role, DECIDES)
    reason = reason.strip()
    if not reason or len(reason) > 200:
        raise Invalid(
            "invalid_reason",
            "Say in 1 to 200 characters why the operator should look.",
            param="reason",
        )
    if not 1 <= hours <= MOST_HOURS:
        raise Invalid(
            "invalid_hours",
            f"Support access lasts from 1 to {MOST_HOURS} hours.",
            param="hours",
        )
    _end()
    consent = SupportConsent.objects.create(
        until=timezone.now() + timedelta(hours=hours), reason=reason, granted_by=str(actor)
    )
    facts = {"until": consent.until.isoformat(), "reason": reason}
    record(actor=actor, action="support.grant", data=facts)
    return consent


def revoke_support(*, role: Role, actor: str) -> None:
    """Ends what stands, at once; without one it is no error. Raises Refused as above."""
    require_owner(role, DECIDES)
    if _end():
        record(actor=actor, action="support.revoke")


def standing_consent() -> SupportConsent | None:
    """The open scope's consent that stands now."""
    now = timezone.now()
    standing = SupportConsent.objects.filter(revoked_at=None, until__gt=now)
    found: SupportConsent | None = standing.order_by("-created_at").first()
    return found


def _end() -> int:
    now = timezone.now()
    standing = SupportConsent.objects.filter(revoked_at=None, until__gt=now)
    return int(standing.update(revoked_at=now))
