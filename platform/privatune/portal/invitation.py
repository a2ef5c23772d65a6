"""`/invitation/<token>`: says who invites into what, and makes a member of whoever chooses to be.

The token alone opens the page; looking at it changes nothing. Whether there is an account with the
invited address is told by nothing but its password: one form takes that of an account, or the one
that a new account shall have.
"""

from typing import Any

from allauth.account.internal.flows.login import (
    perform_password_login,
    record_authentication,
)
from allauth.account.models import Login
from allauth.usersessions.models import UserSession
from django.contrib import messages
from django.contrib.auth import authenticate, login
from django.db import transaction
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from faults import Fault
from privatune.people.adapter import told
from privatune.people.confinement import whole_session
from privatune.portal.refusals import said
from privatune.portal.words import ROLE_NAMES
from tenants.addresses import client_address
from tenants.errors import Conflict, NotFound, Refused
from tenants.models import User
from tenants.services.invitations import Offer, accept_invitation, find_offer
from tenants.services.people import begin_account, owns_address
from tenants.services.proofs import TooManyAttempts

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
            accept_invitation(token=token, user=user, address=client_address(request))
    except Conflict as error:
        if error.code == "account_exists":
            return _sign_in(request, offer)
        return _page(request, offer, error=said(error), status=error.status)
    except NotFound:
        raise
    except Fault as error:
        return _page(request, offer, error=_told(error), status=error.status)
    if begun is not None:
        login(request, begun, backend=BACKEND)
        # Chosen just now: who is led on to a second factor is not asked for it again.
        record_authentication(request, begun, "password", email=begun.email)
        UserSession.objects.create_from_request(request)
    messages.success(request, _("You are a member of %(name)s now.") % {"name": offer.tenant_name})
    return redirect("portal:home", offer.slug)


def _sign_in(request: HttpRequest, offer: Offer) -> HttpResponse:
    """Like the sign-in form, counted as it is, and back to this page, where they can accept."""
    password = request.POST.get("password", "")
    found: Any = authenticate(request, email=offer.email, password=password)
    if found is None:
        many = getattr(request, "too_many_attempts", None)
        error = many or Refused("invalid_credentials", "The password does not open the account.")
        return _page(request, offer, error=_told(error), status=error.status)
    credentials = {"email": found.email}
    signing_in = Login(user=found, email=found.email, redirect_url=request.path)
    answer: HttpResponse = perform_password_login(request, credentials, signing_in)
    return answer


def _told(error: Fault) -> str:
    if isinstance(error, TooManyAttempts):
        return str(told(error).messages[0])
    return said(error)


def _page(
    request: HttpRequest, offer: Offer, *, error: str = "", status: int = 200
) -> HttpResponse:
    user: Any = request.user
    fits = user.is_authenticated and owns_address(
        user=user, email=offer.email, verified=offer.mailed
    )
    context = {"offer": offer, "role": ROLE_NAMES[offer.role], "fits": fits, "error": error}
    return render(request, "portal/invitation.html", context, status=status)
