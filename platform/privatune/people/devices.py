"""Remembers, in the browser, that somebody has signed in there: a signed cookie for one account.

It proves nothing; it only keeps strangers' failures from holding the owner up (OWASP: device
cookies).
"""

import secrets

from django.conf import settings
from django.core import signing
from django.http import HttpRequest, HttpResponse

from tenants.addresses import client_address, network_of
from tenants.services.proofs import Place, subject_of

COOKIE = "privatune_device"
AGE = 365 * 24 * 3600  # seconds
_SALT = "privatune.people.devices"


def place_of(request: HttpRequest | None, account: str) -> Place:
    """Where an attempt at `account` (an e-mail address) comes from."""
    if request is None:
        return Place(network="local")
    return Place(network_of(client_address(request)), _known_device(request, account))


def remember(response: HttpResponse, account: str) -> None:
    """Makes the browser that gets the response known to the account."""
    response.set_signed_cookie(
        COOKIE,
        f"{subject_of(account)}:{secrets.token_hex(16)}",
        salt=_SALT,
        max_age=AGE,
        secure=settings.SESSION_COOKIE_SECURE,
        httponly=True,
        samesite="Lax",
    )


def _known_device(request: HttpRequest, account: str) -> str:
    try:
        value = request.get_signed_cookie(COOKIE, salt=_SALT, max_age=AGE)
    except (KeyError, signing.BadSignature):
        return ""
    assert value is not None  # absent is a KeyError above
    subject, _, device = value.partition(":")
    return device if subject == subject_of(account) else ""
