"""The account pages that allauth does not have: one's sessions, and the reset without mail."""

from typing import Any

from allauth.account.views import password_reset as reset_by_mail
from allauth.usersessions.internal.flows.sessions import end_sessions
from allauth.usersessions.models import UserSession
from django.conf import settings
from django.contrib import messages
from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import redirect, render
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from privatune.people import user_agents


@login_required
def account(request: HttpRequest) -> HttpResponse:
    """What a person can do about himself, on one page."""
    return render(request, "account/index.html")


def password_reset(request: HttpRequest) -> HttpResponseBase:
    """By mail where there is a mail server; else the page says who can help."""
    if settings.MAIL_SERVER:
        response: HttpResponseBase = reset_by_mail(request)
        return response
    return render(request, "account/password_reset_without_mail.html")


@login_required
def sessions(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    found = UserSession.objects.purge_and_list(user)
    newest_first = sorted(found, key=lambda session: session.created_at, reverse=True)
    rows = [
        {"session": each, "browser": user_agents.in_words(each.user_agent)} for each in newest_first
    ]
    return render(request, "account/sessions.html", {"rows": rows})


@require_POST
@login_required
def end_session(request: HttpRequest, session_id: int) -> HttpResponse:
    """One of the person's own; anybody else's does not exist."""
    user: Any = request.user
    session = UserSession.objects.filter(id=session_id, user=user).first()
    if session is None:
        raise Http404
    end_sessions(request, [session])
    messages.success(request, _("The session was ended."))
    return redirect("account_sessions")


@require_POST
@login_required
def end_other_sessions(request: HttpRequest) -> HttpResponse:
    user: Any = request.user
    others = [each for each in UserSession.objects.filter(user=user) if not each.is_current()]
    end_sessions(request, others)
    messages.success(request, _("All other sessions were ended."))
    return redirect("account_sessions")
