"""Changes who belongs to a tenant and in which role. A tenant always keeps an owner, and only
owners touch owners."""

import uuid

from tenants.access import Principal
from tenants.errors import NotFound, Refused
from tenants.models import ApiKey, Invitation, Membership
from tenants.roles import Role
from tenants.services.audit import record
from tenants.services.invitations import withdraw
from tenants.services.key_lines import end_key
from tenants.services.uploads import abandon_uploads


def change_role(*, member_id: uuid.UUID, role: Role, by: Principal) -> Membership:
    """Raises NotFound, and Refused for what is beyond `by`'s own and for the last owner.

    The member's keys, sessions and streams have what the new role has, at once: they ask it.
    """
    member = _locked(member_id)
    by.require_touching(Role(member.role))
    by.require_giving(role)
    if role != Role.OWNER:
        _keep_an_owner(member)
    before, member.role = member.role, role.value
    member.save(update_fields=["role"])
    data = {"role": role.value, "before": before, "user_id": str(member.user_id)}
    record(actor=by.actor, action="member.change", target=member.user.email, data=data)
    return member


def remove_member(*, member_id: uuid.UUID, by: Principal) -> None:
    """Ends the membership and what hangs on it: keys, open invitations, pending uploads; sessions
    and streams, which ask, find it gone. Everybody may leave. Raises NotFound, and Refused for
    what is beyond `by`'s own and for the last owner."""
    member = _locked(member_id)
    if not (by.membership_id == member.id and by.key_id is None):
        by.require_touching(Role(member.role))
    _keep_an_owner(member)
    for key in ApiKey.objects.select_for_update().filter(created_by=member):
        end_key(key=key, actor=by.actor)
    withdraw(invitations=Invitation.objects.filter(invited_by=member), actor=by.actor)
    ApiKey.objects.filter(created_by=member).update(created_by=None)
    Invitation.objects.filter(invited_by=member).update(invited_by=None)
    abandon_uploads(user_id=member.user_id, actor=by.actor)
    email, data = member.user.email, {"user_id": str(member.user_id), "role": member.role}
    member.delete()
    record(actor=by.actor, action="member.remove", target=email, data=data)


def _locked(member_id: uuid.UUID) -> Membership:
    # All of them, so that two owners cannot remove each other at the same time.
    members = {each.id: each for each in Membership.objects.select_for_update().order_by("id")}
    if member_id not in members:
        raise NotFound("member_not_found", "No such member.")
    return members[member_id]


def _keep_an_owner(member: Membership) -> None:
    owners = Membership.objects.filter(role=Role.OWNER)
    if member.role == Role.OWNER and not owners.exclude(id=member.id).exists():
        raise Refused(
            "last_owner",
            "This is the organisation's only owner.",
            fix="Make another member an owner first.",
        )
