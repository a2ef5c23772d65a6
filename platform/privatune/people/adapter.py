"""allauth's hooks for accounts: closed to sign-up, one address, our own limits."""

import time
from typing import Any

from allauth.account import app_settings
from allauth.account.adapter import DefaultAccountAdapter
from allauth.account.internal.flows.login import get_authentication_records
from allauth.core import context
from django.core.exceptions import ValidationError
from django.http import HttpRequest, HttpResponse
from django.utils.translation import gettext as _

from privatune.people.devices import remember
from tenants.addresses import client_address
from tenants.models import User
from tenants.services.proofs import TooManyAttempts


def told(error: TooManyAttempts) -> ValidationError:
    """The refusal as a form shows it, in the person's language."""
    text = _(
        "Too many failed attempts for this account from here. Wait %(minutes)d min, or use a "
        "browser in which you have signed in before."
    )
    return ValidationError(text % {"minutes": error.minutes}, code=error.code)


class People(DefaultAccountAdapter):  # type: ignore[misc]
    def is_open_for_signup(self, request: HttpRequest) -> bool:
        return False

    def pre_authenticate(self, request: HttpRequest, **credentials: Any) -> None:
        """Nothing: the backend counts, whoever calls it."""

    def _rollback_login_failed_rl_usage(self) -> None:
        """Nothing, as above."""

    def authentication_failed(self, request: HttpRequest, **credentials: Any) -> None:
        error = getattr(request, "too_many_attempts", None)
        if error is not None:
            raise told(error)

    def reauthenticate(self, user: User, password: str) -> bool:
        found = self.authenticate(context.request, email=user.email, password=password)
        return found is not None and found.pk == user.pk

    def is_reauthentication_required(self, *, app: str, **kwargs: Any) -> bool:
        """Not right after signing in: somebody who is led to enrol has just given the password."""
        request = context.request
        records = get_authentication_records(request, request.user)
        newest = max((record["at"] for record in records), default=0.0)
        since = time.time() - newest  # far below zero: the clock was set back since
        fresh = -60 < since < app_settings.REAUTHENTICATION_TIMEOUT
        return not fresh

    def post_login(self, request: HttpRequest, user: User, **kwargs: Any) -> HttpResponse:
        response: HttpResponse = super().post_login(request, user, **kwargs)
        remember(response, user.email)
        return response

    def get_client_ip(self, request: HttpRequest) -> str:
        return client_address(request)
