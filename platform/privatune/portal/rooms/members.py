"""Members: who belongs here, who is invited, and what may be done about it."""

from typing import Any

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone
from django.utils.translation import gettext as _

from privatune.portal.access import RoomRequest, go, room
from privatune.portal.acts import acted, posted_id
from privatune.portal.words import ROLE_NAMES
from tenants.errors import Invalid
from tenants.models import Invitation, Membership
from tenants.roles import Role, Scope, may_give, may_touch
from tenants.services.invitation_mail import mail_link
from tenants.services.invitations import invite, revoke_invitation
from tenants.services.members import change_role, remove_member


@room(Scope.TENANT_READ)
def index(request: RoomRequest) -> HttpResponse:
    return acted(request, page=_page, act=_act, keeps=("invite",))


def _act(request: RoomRequest) -> HttpResponse:
    """Raises Fault."""
    by = request.principal
    match request.POST.get("do"):
        case "invite":
            return _invite(request)
        case "revoke":
            revoke_invitation(invitation_id=posted_id(request, "invitation"), by=by)
            messages.success(request, _("The invitation was revoked."))
        case "role":
            change_role(member_id=posted_id(request, "member"), role=_role(request), by=by)
            messages.success(request, _("The role was changed."))
        case "remove":
            member_id = posted_id(request, "member")
            remove_member(member_id=member_id, by=by)
            if member_id == by.membership_id:
                return redirect("portal:organisations")
            messages.success(request, _("The member was removed."))
    return go(request, "members")


def _invite(request: RoomRequest) -> HttpResponse:
    email = request.POST.get("email", "").strip()

    def link_of(token: str) -> str:
        return request.build_absolute_uri(reverse("portal:invitation", args=(token,)))

    made, token = invite(
        by=request.principal, email=email, role=_role(request), deliver=mail_link(link_of)
    )
    if made.mailed:
        messages.success(request, _("The invitation was sent to %(email)s.") % {"email": email})
        return go(request, "members")
    return _page(request, invited=made, link=link_of(token))


def _role(request: RoomRequest) -> Role:
    try:
        return Role(request.POST.get("role", ""))
    except ValueError:
        raise Invalid("invalid_role", "No such role.", param="role") from None


def _page(request: RoomRequest, *, status: int = 200, **more: Any) -> HttpResponse:
    by = request.principal
    given = [role for role in Role if may_give(by.role, by.scopes, role)]
    members = Membership.objects.select_related("user").order_by("user__email")
    waiting = Invitation.objects.filter(
        accepted_at=None, revoked_at=None, expires_at__gt=timezone.now()
    )
    rows = [
        {
            "member": member,
            "role": ROLE_NAMES[Role(member.role)],
            "touchable": may_touch(by.role, by.scopes, Role(member.role)),
            "self": member.id == by.membership_id,
        }
        for member in members
    ]
    context = {
        "rows": rows,
        "roles": [(role.value, ROLE_NAMES[role]) for role in given],
        "waiting": [
            {
                "invitation": each,
                "role": ROLE_NAMES[Role(each.role)],
                "touchable": may_touch(by.role, by.scopes, Role(each.role)),
            }
            for each in waiting.order_by("-created_at")
        ],
        **more,
    }
    return render(request, "portal/members.html", context, status=status)
