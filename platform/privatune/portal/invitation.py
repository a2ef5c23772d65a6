"""`/invitation/<token>`: says who invites into what, and makes a member of whoever chooses to be.

The token alone opens the page; looking at it changes nothing.
"""

from typing import Any

from allauth.account.internal.flows.login import record_authentication
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from privatune.people.confinement import whole_session
from privatune.portal.words import ROLE_NAMES
from tenants.errors import Conflict, Invalid, NotFound, Refused
from tenants.models import User
from tenants.services.invitations import Offer, accept_invitation, find_offer
from tenants.services.people import begin_account, owns_address

BACKEND = "privatune.people.backend.PasswordBackend"


@never_cache
@whole_session
def invitation(request: HttpRequest, token: str) -> HttpResponse:
    try:
        offer = find_offer(token=token)
        if request.method == "POST":
            return _accept(request, offer, token)
    except NotFound:
        return render(request, "portal/invitation_ended.html", status=404)
    return _page(request, offer)


def _accept(request: HttpRequest, offer: Offer, token: str) -> HttpResponse:
    user: Any = request.user
    begun: User | None = None
    try:
        with transaction.atomic():
            if not user.is_authenticated:
                password = request.POST.get("password", "")
                begun = begin_account(email=offer.email, password=password, proven=offer.mailed)
                user = begun
            accept_invitation(token=token, user=user)
    except Conflict as error:
        known = {
            "account_exists": _("There is an account with this address already: sign in with it."),
            "member_exists": _("You are a member already."),
        }
        return _page(request, offer, error=known.get(error.code, error.message), status=409)
    except Invalid as error:
        return _page(request, offer, error=error.message, status=400)
    except Refused as error:
        known = {
            "invitation_for_another_address": _("This is not your verified address."),
            "inviter_lost_right": _(
                "Whoever invited you may not give this role any more. Ask for a new invitation."
            ),
        }
        return _page(request, offer, error=known.get(error.code, error.message), status=403)
    if begun is not None:
        login(request, begun, backend=BACKEND)
        # Chosen just now: who is led on to a second factor is not asked for it again.
        record_authentication(request, begun, "password", email=begun.email)
        UserSession.objects.create_from_request(request)
    messages.success(request, _("You are a member of %(name)s now.") % {"name": offer.tenant_name})
    return redirect("portal:home", offer.slug)


def _page(
    request: HttpRequest, offer: Offer, *, error: str = "", status: int = 200
) -> HttpResponse:
    user: Any = request.user
    fits = user.is_authenticated and owns_address(
        user=user, email=offer.email, verified=offer.mailed
    )
    context = {"offer": offer, "role": ROLE_NAMES[offer.role], "fits": fits, "error": error}
    return render(request, "portal/invitation.html", context, status=status)
