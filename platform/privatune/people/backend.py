"""The one place where a password is compared: for the portal, for operators, for confirming."""

from typing import Any

from allauth.account.auth_backends import AuthenticationBackend
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest

from privatune.people.devices import place_of
from tenants.models import User
from tenants.services import proofs

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
        try:
            attempt = proofs.begin(
                subject=proofs.subject_of(email),
                place=place_of(request, email),
                limits=proofs.PASSWORD,
            )
        except proofs.TooManyAttempts as error:
            if request is not None:
                request.too_many_attempts = error  # type: ignore[attr-defined]
            raise PermissionDenied from error
        user = self._matching(email, str(password))
        if user is None:
            raise PermissionDenied
        proofs.succeeded(attempt=attempt)
        return user

    @staticmethod
    def _matching(email: str, password: str) -> User | None:
        user = User.objects.filter(email=email.strip().lower(), is_active=True).first()
        if user is None:
            User().set_password(password)  # as slow as a real comparison: tells nobody who exists
            return None
        return user if user.check_password(password) else None
