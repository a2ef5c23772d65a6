"""Membership begins here: a single-use, expiring offer to an address, accepted by whoever is shown
to own that address. Inviting makes no account and says nothing about one."""

import secrets
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from datetime import timedelta

from django.db import connection
from django.db.models import QuerySet
from django.utils import timezone

from tenants.access import Principal, digest_of, require_living
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, NotFound, Refused
from tenants.models import AuditEntry, Invitation, Membership, User
from tenants.roles import GIVES, Role
from tenants.services.audit import record
from tenants.services.people import owns_address, require_address

LIFE = timedelta(days=7)
MOST_OPEN = 100  # per tenant: nobody mails the world through us
MOST_A_DAY = 300  # of those that were withdrawn again, too
MOST_TO_ONE_A_DAY = 10


@dataclass(frozen=True)
class Offer:
    """An open invitation as its token's holder sees it, before any tenant is known."""

    tenant_id: uuid.UUID
    invitation_id: uuid.UUID
    tenant_name: str
    slug: str
    email: str
    role: Role
    inviter: str
    mailed: bool


def invite(
    *,
    by: Principal,
    email: str,
    role: Role,
    life: timedelta = LIFE,
    deliver: Callable[[Invitation, str], bool] | None = None,
) -> tuple[Invitation, str]:
    """An invitation and its token, in the open scope. An open one to the same address ends.

    `deliver` sends the token to the address and says whether it did; what it raises undoes the
    invitation. Raises Refused beyond `by`'s own, Invalid for what is no address, Conflict for a
    member already, or for too many.
    """
    by.require_giving(role)
    address = require_address(email)
    if Membership.objects.filter(user__email__iexact=address).exists():
        raise Conflict("member_exists", "That person is a member already.", param="email")
    open_ones = Invitation.objects.filter(accepted_at=None, revoked_at=None)
    withdraw(invitations=open_ones.filter(email=address), actor=by.actor)
    if open_ones.filter(expires_at__gt=timezone.now()).count() >= MOST_OPEN:
        raise Conflict(
            "too_many_invitations",
            f"{MOST_OPEN} invitations are open already.",
            fix="Revoke some, or wait until they are accepted or expire.",
        )
    _require_restraint(address)
    token = secrets.token_urlsafe(32)
    made = Invitation.objects.create(
        email=address,
        role=role.value,
        digest=digest_of(token),
        expires_at=timezone.now() + life,
        inviter=str(by.actor),
        invited_by_id=by.membership_id,
        invited_with_id=by.key_id,
    )
    if deliver is not None and deliver(made, token):
        made.mailed = True
        made.save(update_fields=["mailed"])
    data = {"role": role.value, "expires_at": made.expires_at.isoformat(), "mailed": made.mailed}
    record(actor=by.actor, action="invitation.create", target=address, data=data)
    return made, token


def _require_restraint(address: str) -> None:
    """By the trail, where what was withdrawn stands as well. Raises Conflict."""
    sent = AuditEntry.objects.filter(
        action="invitation.create", created_at__gt=timezone.now() - timedelta(days=1)
    )
    if sent.filter(target=address).count() >= MOST_TO_ONE_A_DAY or sent.count() >= MOST_A_DAY:
        raise Conflict(
            "too_many_invitations_today",
            f"At most {MOST_TO_ONE_A_DAY} invitations a day go to one address, "
            f"{MOST_A_DAY} in all.",
            fix="Go on tomorrow.",
        )


def revoke_invitation(*, invitation_id: uuid.UUID, by: Principal) -> Invitation:
    """Raises NotFound, Refused, and Conflict for one that was accepted; twice is no error."""
    found = Invitation.objects.select_for_update().filter(id=invitation_id).first()
    if found is None:
        raise NotFound("invitation_not_found", "No such invitation.")
    by.require_touching(Role(found.role))
    if found.accepted_at is not None:
        raise Conflict("invitation_accepted", "It was accepted.", fix="Remove the member instead.")
    withdraw(invitations=Invitation.objects.filter(id=found.id), actor=by.actor)
    found.refresh_from_db()
    return found


def withdraw(*, invitations: QuerySet[Invitation], actor: str) -> None:
    """Revokes those that are open, asking nobody."""
    for each in invitations.select_for_update().filter(accepted_at=None, revoked_at=None):
        each.revoked_at = timezone.now()
        each.save(update_fields=["revoked_at"])
        record(actor=actor, action="invitation.revoke", target=each.email)


def find_offer(*, token: str) -> Offer:
    """The open invitation of that token. Raises NotFound, the same for unknown, expired, revoked
    and accepted ones."""
    with connection.cursor() as cursor:
        cursor.execute("SELECT * FROM privatune_invitation(%s)", [digest_of(token)])
        row = cursor.fetchone()
    if row is None:
        raise _no_such_offer()
    tenant_id, invitation_id, tenant_name, slug, email, role, _inviter, mailed = row
    with tenant_scope(tenant_id):
        inviter = inviter_of(Invitation.objects.get(id=invitation_id), tenant_name)
    return Offer(tenant_id, invitation_id, tenant_name, slug, email, Role(role), inviter, mailed)


def inviter_of(invitation: Invitation, tenant_name: str) -> str:
    """Who invites, as the invited person is told, in the open scope: the member, also when their
    key did it, else the organisation. What a key is called is its maker's to choose, and no word
    to strangers."""
    member = invitation.invited_by
    return str(member.user.email) if member else tenant_name


def accept_invitation(*, token: str, user: User, address: str = "") -> Membership:
    """Makes the person, signed in at that network address, a member. Outside any scope; works once.

    A token that was mailed asks for the verified address it was mailed to; one that the inviter
    handed over asks for the account of that address. Raises NotFound, Refused for another address
    and for an inviter who may not give the role any more, Conflict for a member already.
    """
    offer = find_offer(token=token)
    if not owns_address(user=user, email=offer.email, verified=offer.mailed):
        raise Refused(
            "invitation_for_another_address",
            f"This invitation is for {offer.email}, and that is not your verified address.",
            fix=f"Sign in as {offer.email}, or ask for an invitation to your own address.",
        )
    with tenant_scope(offer.tenant_id):
        require_living(offer.tenant_id)
        found = Invitation.objects.select_for_update(of=("self",)).filter(
            id=offer.invitation_id, accepted_at=None, revoked_at=None
        )
        invitation = found.select_related("invited_by").first()
        if invitation is None:  # somebody was faster
            raise _no_such_offer()
        _require_inviter(invitation)
        member, made = Membership.objects.get_or_create(
            user=user, defaults={"role": invitation.role}
        )
        if not made:
            raise Conflict("member_exists", "You are a member already.")
        invitation.accepted_at = timezone.now()
        invitation.save(update_fields=["accepted_at"])
        actor = Actor.person(user.email, user.id).at(address)
        data = {"role": member.role, "invited_by": invitation.inviter}
        record(actor=actor, action="member.join", target=user.email, data=data)
    return member


def _require_inviter(invitation: Invitation) -> None:
    """Whoever was demoted since gives nothing beyond the new role."""
    inviter = invitation.invited_by
    if inviter is not None and Role(invitation.role) not in GIVES[Role(inviter.role)]:
        raise Refused(
            "inviter_lost_right",
            "Whoever invited you may not give this role any more.",
            fix="Ask for a new invitation.",
        )


def _no_such_offer() -> NotFound:
    return NotFound(
        "invitation_not_found",
        "This invitation does not exist, or it was used, revoked, or has expired.",
        fix="Ask whoever invited you for a new one.",
    )
