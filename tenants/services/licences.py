"""Issues licences, and answers whether a tenant may train, export or serve a model now."""

import uuid
from datetime import datetime

from django.db import IntegrityError, transaction
from django.db.models import Sum
from django.utils import timezone

from tenants.database.scope import tenant_scope
from tenants.dates import last_day
from tenants.errors import Conflict, Invalid, NotFound, Refused
from tenants.models import License, LicenseState, UsageEntry
from tenants.rights import BY_DEFAULT, Right
from tenants.services.audit import record


def issue_license(
    *,
    tenant_id: uuid.UUID,
    model: str,
    actor: str,
    rights: frozenset[Right] = BY_DEFAULT,
    valid_from: datetime | None = None,
    valid_until: datetime | None = None,
    token_budget: int | None = None,
    note: str = "",
) -> License:
    """Raises Conflict when the tenant holds one for the model that is not revoked, and Invalid for
    one that would be over before it begins."""
    begins = valid_from or timezone.now()
    if valid_until is not None and valid_until <= begins:
        raise Invalid(
            "license_over",
            f"The licence would end on {last_day(valid_until)}, before it begins.",
            fix="Give a later last day, or none.",
            param="valid_until",
        )
    with tenant_scope(tenant_id):
        try:
            with transaction.atomic():
                licence = License.objects.create(
                    model=model,
                    rights=[right.value for right in Right if right in rights],
                    valid_from=begins,
                    valid_until=valid_until,
                    token_budget=token_budget,
                    note=note,
                )
        except IntegrityError:
            raise Conflict(
                "license_exists",
                f"The tenant already holds a licence for {model!r}.",
                fix="Extend that one in the operator's pages, or revoke it first.",
            ) from None
        record(actor=actor, action="license.issue", target=model, data=terms_of(licence))
    return licence


def change_license(
    *,
    tenant_id: uuid.UUID,
    license_id: uuid.UUID,
    actor: str,
    state: LicenseState | None = None,
    valid_until: datetime | None = None,
    token_budget: int | None = None,
) -> License:
    """Renews, suspends, reactivates or revokes. Raises NotFound; a revoked one stays revoked."""
    with tenant_scope(tenant_id):
        licence = License.objects.select_for_update(no_key=True).filter(id=license_id).first()
        if licence is None:
            raise NotFound("license_not_found", "There is no such licence.")
        if licence.state == LicenseState.REVOKED:
            raise Conflict(
                "license_revoked", "A revoked licence cannot change.", fix="Issue a new one."
            )
        if state is not None:
            licence.state = state
        if valid_until is not None:
            licence.valid_until = valid_until
        if token_budget is not None:
            licence.token_budget = token_budget
        licence.save()
        record(actor=actor, action="license.change", target=licence.model, data=terms_of(licence))
    return licence


def require_license(*, model: str, right: Right, tokens: int = 0) -> License:
    """The open scope's licence for `model`, if it allows `right` now and has `tokens` left.

    Raises Refused (403) saying which licence is missing and what state it is in.
    """
    licence = (
        License.objects.filter(model=model).exclude(state=LicenseState.REVOKED).first()
        or License.objects.filter(model=model).order_by("-created_at").first()
    )
    problem = "you hold no licence for it" if licence is None else _problem(licence, right, tokens)
    if licence is None or problem:
        raise Refused(
            "license_required",
            f"You may not {right.value} with the model `{model}`: {problem}.",
            fix="Ask the operator to issue or extend your licence; the page Licences shows yours.",
            param="model",
        )
    return licence


def _problem(licence: License, right: Right, tokens: int) -> str | None:
    now = timezone.now()
    if licence.state != LicenseState.ACTIVE:
        return f"your licence is {licence.state}"
    if licence.valid_from > now:
        return f"your licence is valid from {licence.valid_from:%Y-%m-%d %H:%M} UTC on"
    if licence.valid_until is not None and licence.valid_until <= now:
        return f"your licence expired, its last day was {last_day(licence.valid_until)} (UTC)"
    if right not in licence.rights:
        return f"your licence does not include the right to {right.value}"
    left = tokens_left(licence)
    if left is not None and tokens > left:
        return f"this needs {tokens} trained tokens and your licence has {left} left"
    return None


def tokens_left(licence: License) -> int | None:
    """Trained tokens the licence still allows; None: no limit."""
    if licence.token_budget is None:
        return None
    used = UsageEntry.objects.filter(license=licence).aggregate(sum=Sum("tokens"))["sum"] or 0
    return max(0, int(licence.token_budget) - int(used))


def charge(*, licence: License, kind: str, tokens: int, reference: str) -> None:
    """Books use once per (kind, reference), however often it is called."""
    UsageEntry.objects.bulk_create(
        [UsageEntry(license=licence, kind=kind, tokens=tokens, reference=reference)],
        ignore_conflicts=True,
    )


def terms_of(licence: License) -> dict[str, object]:
    """The licence as `license.json` and the audit trail show it."""
    return {
        "id": str(licence.id),
        "model": licence.model,
        "rights": list(licence.rights),
        "valid_from": licence.valid_from.isoformat(),
        "valid_until": licence.valid_until.isoformat() if licence.valid_until else None,
        "token_budget": licence.token_budget,
        "state": str(licence.state),
    }
