"""Second factors: authenticator apps, passkeys, recovery codes; and who must use one.

The rule is asked per session: a factor counts when it was used in this very session and is still
enrolled. Where it is missing, the person is led to enrol or to use it, and comes back.
"""

import base64
from typing import Any

from allauth.account.internal.flows.login import get_authentication_records, record_authentication
from allauth.mfa.adapter import DefaultMFAAdapter
from allauth.mfa.models import Authenticator
from allauth.mfa.signals import authenticator_added
from allauth.mfa.utils import is_mfa_enabled
from django.contrib import messages
from django.http import HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme, urlencode
from django.utils.translation import gettext as _

from tenants.services.vaults import master_key

FACTORS = [Authenticator.Type.TOTP, Authenticator.Type.WEBAUTHN]
_COME_BACK = "second_factor_next"
_BOUND_TO = b"privatune totp secret|1"


class SecondFactors(DefaultMFAAdapter):  # type: ignore[misc]
    def encrypt(self, text: str) -> str:
        """Whoever reads the database must not be able to make codes."""
        sealed = master_key().aead.encrypt(text.encode(), _BOUND_TO)
        return base64.b64encode(sealed).decode()

    def decrypt(self, encrypted_text: str) -> str:
        sealed = base64.b64decode(encrypted_text)
        return bytes(master_key().aead.decrypt(sealed, _BOUND_TO)).decode()

    def _get_site_name(self) -> str:
        return "Privatune"


def enrolled(user: Any) -> bool:
    return bool(is_mfa_enabled(user, FACTORS))


def used(request: HttpRequest) -> bool:
    """Whether the signed-in person has used a second factor in this session."""
    records = get_authentication_records(request, request.user)
    return any(record["method"] == "mfa" for record in records) and enrolled(request.user)


def lead(request: HttpRequest, reason: str, *, back_to: str) -> HttpResponse:
    """To enrolling, or to using what is enrolled; then on to `back_to`."""
    if enrolled(request.user):
        return redirect(f"{reverse('mfa_reauthenticate')}?{urlencode({'next': back_to})}")
    request.session[_COME_BACK] = back_to
    messages.warning(request, reason)
    return redirect("mfa_index")


def come_back(request: HttpRequest) -> str | None:
    """Where the person wanted to go before being led away, once nothing stands in the way."""
    address = request.session.get(_COME_BACK)
    if not address or not used(request):
        return None
    # The session is ours, but an address that leaves the site must not come out of anywhere.
    return address if url_has_allowed_host_and_scheme(address, allowed_hosts=None) else None


def arrived(request: HttpRequest) -> None:
    """The person is where a factor is required, and has used one: nothing is left to offer."""
    request.session.pop(_COME_BACK, None)


def for_tenant() -> str:
    return _("This organisation requires a second factor. Set one up to go on.")


def for_operators() -> str:
    return _("Operators must use a second factor. Set one up to go on.")


def _count_enrolling(
    request: HttpRequest, user: Any, authenticator: Authenticator, **_: Any
) -> None:
    """Enrolling proves possession as much as the next sign-in will."""
    if authenticator.type in FACTORS:
        record_authentication(
            request, user, "mfa", id=authenticator.pk, type=authenticator.type, reauthenticated=True
        )


def connect() -> None:
    authenticator_added.connect(_count_enrolling, dispatch_uid="privatune.people.second_factor")
