"""Changes who belongs to a tenant and in which role. A tenant always keeps an owner."""

import uuid

from tenants.errors import Conflict, NotFound, Refused
from tenants.models import ApiKey, Membership, User
from tenants.roles import Role
from tenants.services.audit import record


def invite(*, email: str, role: Role, actor: str) -> Membership:
    """Adds the person of that address, in the open scope, and makes the account if there is none:
    without a password until the person sets one. Raises Conflict for a member already."""
    user, _ = User.objects.get_or_create(email=User.objects.normalize_email(email).lower())
    member, made = Membership.objects.get_or_create(user=user, defaults={"role": role.value})
    if not made:
        raise Conflict("member_exists", "That person is a member already.", param="email")
    record(actor=actor, action="member.add", target=user.email, data={"role": role.value})
    return member


def change_role(*, member_id: uuid.UUID, role: Role, actor: str) -> Membership:
    """Raises NotFound, and Refused for the last owner."""
    member = _locked(member_id)
    if role != Role.OWNER:
        _keep_an_owner(member)
    member.role = role.value
    member.save(update_fields=["role"])
    record(actor=actor, action="member.change", target=member.user.email, data={"role": role.value})
    return member


def remove_member(*, member_id: uuid.UUID, actor: str) -> None:
    """Raises NotFound, and Refused for the last owner. Keys that the person made stay."""
    member = _locked(member_id)
    _keep_an_owner(member)
    ApiKey.objects.filter(created_by=member).update(created_by=None)
    email = member.user.email
    member.delete()
    record(actor=actor, action="member.remove", target=email)


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
