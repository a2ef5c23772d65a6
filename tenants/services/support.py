"""An owner lets the operator look at the tenant's jobs for some hours, and takes it back."""

from datetime import timedelta

from django.utils import timezone

from tenants.access import Principal, require_owner
from tenants.errors import Invalid
from tenants.models import SupportConsent
from tenants.names import readable
from tenants.roles import Scope
from tenants.services.audit import record

MOST_HOURS = 7 * 24
MOST_REASON = 200
DECIDES = "whether the operator may look at your jobs"


def grant_support(*, by: Principal, hours: int, reason: str) -> SupportConsent:
    """In the open scope; replaces a consent that stands. Raises Invalid, and Refused for anybody
    but an owner, in person or with a key of theirs that has `tenant:write`."""
    _require_owner(by)
    reason = reason.strip()
    if not reason or len(reason) > MOST_REASON:
        raise Invalid(
            "invalid_reason",
            f"Say in 1 to {MOST_REASON} characters why the operator should look.",
            param="reason",
        )
    reason = readable(reason, param="reason")
    if not 1 <= hours <= MOST_HOURS:
        raise Invalid(
            "invalid_hours",
            f"Support access lasts from 1 to {MOST_HOURS} hours.",
            param="hours",
        )
    _end()
    consent = SupportConsent.objects.create(
        until=timezone.now() + timedelta(hours=hours), reason=reason, granted_by=str(by.actor)
    )
    facts = {"until": consent.until.isoformat(), "reason": reason}
    record(actor=by.actor, action="support.grant", data=facts)
    return consent


def revoke_support(*, by: Principal) -> None:
    """Ends what stands, at once; without one it is no error. Raises Refused as above."""
    _require_owner(by)
    if _end():
        record(actor=by.actor, action="support.revoke")


def standing_consent() -> SupportConsent | None:
    """The open scope's consent that stands now."""
    now = timezone.now()
    standing = SupportConsent.objects.filter(revoked_at=None, until__gt=now)
    found: SupportConsent | None = standing.order_by("-created_at").first()
    return found


def _require_owner(by: Principal) -> None:
    by.require(Scope.TENANT_WRITE)
    require_owner(by.role, DECIDES)


def _end() -> int:
    now = timezone.now()
    standing = SupportConsent.objects.filter(revoked_at=None, until__gt=now)
    return int(standing.update(revoked_at=now))
