"""The one place where a password is compared: for the portal, for operators, for confirming."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from privatune.people.devices import place_of
from tenants.models import User
from tenants.services import proofs
from tenants.services.failures import PASSWORD_STEP

# Whatever a caller calls the field: a limit that looks for another name counts nobody.
NAMES = ("email", "username", "login")


class PasswordBackend(AuthenticationBackend):  # type: ignore[misc]
    """Knows a person by the account's own address and nothing else; an address that somebody has
    merely written down somewhere signs nobody in."""

    def authenticate(self, request: HttpRequest | None, **credentials: Any) -> User | None:
        """Raises PermissionDenied for every failure, so that no other backend is asked. A refusal
        for too many attempts is left on the request as `too_many_attempts`."""
        email = next((str(credentials[name]) for name in NAMES if credentials.get(name)), "")
        password = credentials.get("password")
        if not email or not password:
            return None
        user = User.objects.filter(email=email.strip().lower(), is_active=True).first()
        try:
            attempt = proofs.begin(
                subject=proofs.subject_of(email),
                place=place_of(request, email),
                limits=proofs.PASSWORD,
                account=user.pk if user else None,
                step=PASSWORD_STEP,
            )
        except proofs.TooManyAttempts as error:
            if request is not None:
                request.too_many_attempts = error  # type: ignore[attr-defined]
            raise PermissionDenied from error
        if user is None or not user.check_password(str(password)):
            if user is None:
                User().set_password(str(password))  # as slow as comparing: tells nobody who exists
            proofs.failed(attempt=attempt)
            raise PermissionDenied
        proofs.succeeded(attempt=attempt)
        return user
