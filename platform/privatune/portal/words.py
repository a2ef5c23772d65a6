"""The tenants' own words in the person's language."""

from typing import Any

from django.utils.translation import gettext_lazy as _

from tenants.errors import TenantError
from tenants.roles import Role, Scope

ROLE_NAMES: dict[Role, Any] = {
    Role.OWNER: _("owner"),
    Role.ADMIN: _("admin"),
    Role.ENGINEER: _("engineer"),
    Role.VIEWER: _("viewer"),
}
SCOPE_NAMES: dict[Scope, Any] = {
    Scope.FILES_READ: _("see and download files"),
    Scope.FILES_WRITE: _("upload and delete files"),
    Scope.JOBS_READ: _("follow jobs"),
    Scope.JOBS_WRITE: _("start and stop jobs"),
    Scope.MODELS_READ: _("see models"),
    Scope.MODELS_WRITE: _("delete models"),
    Scope.INFER: _("ask models"),
    Scope.ARTIFACTS_READ: _("take the weights away"),
    Scope.TENANT_READ: _("see licences, usage, members and the audit log"),
    Scope.TENANT_WRITE: _("change members and keys"),
}
# What people meet on the pages of members and keys; API and command line tell it in English.
REFUSALS: dict[str, Any] = {
    "member_exists": _("That person is a member already."),
    "too_many_invitations": _("Too many invitations are open. Revoke some first."),
    "invitation_accepted": _("It was accepted already. Remove the member instead."),
    "invitation_not_found": _("This invitation is not open any more."),
    "member_not_found": _("That person is not a member any more."),
    "last_owner": _("This is the organisation's only owner. Make somebody else an owner first."),
    "unknown_scope": _("A key needs at least one scope."),
    "invalid_network": _(
        "One of the networks cannot be read. Write an address (203.0.113.7) or a network "
        "(203.0.113.0/24, 2001:db8::/32)."
    ),
    "key_ended": _("The key is revoked or expired. Make a new one."),
    "key_not_found": _("There is no such key."),
}


def said(error: TenantError) -> str:
    """What a refusal tells the person: in their language where its code is known here."""
    known = REFUSALS.get(error.code)
    return str(known) if known else f"{error.message} {error.fix or ''}".strip()
