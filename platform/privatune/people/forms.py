"""allauth's forms, where they compare a secret without counting, or look an address up by more than
the account's own."""

from typing import Any

from allauth.account.adapter import get_adapter
from allauth.account.forms import ChangePasswordForm, ResetPasswordForm
from allauth.core import context
from allauth.core.internal.cryptokit import normalize_user_code
from allauth.mfa.adapter import get_adapter as get_mfa_adapter
from allauth.mfa.base.forms import AuthenticateForm, ReauthenticateForm
from allauth.mfa.models import Authenticator
from allauth.mfa.totp.forms import ActivateTOTPForm
from allauth.mfa.webauthn.forms import (
    AddWebAuthnForm,
    AuthenticateWebAuthnForm,
    ReauthenticateWebAuthnForm,
)
from django.core.exceptions import ValidationError
from django.forms import HiddenInput, JSONField
from django.forms.fields import InvalidJSONInput
from django.http import HttpRequest

from faults.nesting import NO_JSON
from privatune.people.adapter import told
from privatune.people.devices import place_of
from tenants.models import User
from tenants.services import proofs
from tenants.services.failures import CODE_STEP, PASSKEY_STEP

_ANYWHERE = proofs.Place("anywhere", device="anywhere")


class _UsedUp:
    """A code that somebody has read over a shoulder is worth nothing any more (RFC 6238, 5.2), in
    whichever process it is tried; allauth remembers in one process only."""

    user: User

    def _use_up(self, code: str) -> None:
        subject = proofs.subject_of(f"used:{self.user.pk}:{normalize_user_code(code)}")
        try:
            proofs.begin(subject=subject, place=_ANYWHERE, limits=proofs.ONCE)
        except proofs.TooManyAttempts:
            raise get_mfa_adapter().validation_error("incorrect_code") from None


class UsedUpActivate(_UsedUp, ActivateTOTPForm):  # type: ignore[misc]
    """Enrolling an authenticator app: the code that shows it works signs nobody in."""

    def clean_code(self) -> str:
        code: str = super().clean_code()
        self._use_up(code)
        return code


class _Counted(_UsedUp):
    """A code of six digits is guessed in an afternoon unless somebody counts."""

    def clean_code(self) -> str:
        try:
            attempt = proofs.begin(
                subject=proofs.subject_of(f"code:{self.user.pk}"),
                place=place_of(context.request, self.user.email),
                limits=proofs.CODE,
                account=self.user.pk,
                step=CODE_STEP,
            )
        except proofs.TooManyAttempts as error:
            raise told(error) from error
        try:
            code: str = super().clean_code()  # type: ignore[misc]
            self._use_up(code)
        except ValidationError:
            proofs.failed(attempt=attempt)
            raise
        proofs.succeeded(attempt=attempt)
        return code


class CountedAuthenticate(_Counted, AuthenticateForm):  # type: ignore[misc]
    """The second step of signing in."""


class CountedReauthenticate(_Counted, ReauthenticateForm):  # type: ignore[misc]
    """Confirming in an open session."""


class _Credential(JSONField):
    """What a browser's key answers. Django's field breaks at numbers and nestings without end."""

    def to_python(self, value: Any) -> Any:
        try:
            return super().to_python(value)
        except NO_JSON:
            raise ValidationError(self.error_messages["invalid"], code="invalid") from None

    def bound_data(self, data: Any, initial: Any) -> Any:
        """For the form shown again."""
        try:
            return super().bound_data(data, initial)
        except NO_JSON:
            return InvalidJSONInput("")


class AddKey(AddWebAuthnForm):  # type: ignore[misc]
    credential = _Credential(widget=HiddenInput)


class _CountedKey:
    """Nobody guesses a signature; that somebody with the password tried without the key is told."""

    user: User

    def clean_credential(self) -> Authenticator:
        try:
            attempt = proofs.begin(
                subject=proofs.subject_of(f"passkey:{self.user.pk}"),
                place=place_of(context.request, self.user.email),
                limits=proofs.CODE,
                account=self.user.pk,
                step=PASSKEY_STEP,
            )
        except proofs.TooManyAttempts as error:
            raise told(error) from error
        try:
            found: Authenticator = super().clean_credential()  # type: ignore[misc]
        except ValidationError:
            proofs.failed(attempt=attempt)
            raise
        proofs.succeeded(attempt=attempt)
        return found


class AuthenticateByKey(_CountedKey, AuthenticateWebAuthnForm):  # type: ignore[misc]
    credential = _Credential(widget=HiddenInput)


class ReauthenticateByKey(_CountedKey, ReauthenticateWebAuthnForm):  # type: ignore[misc]
    credential = _Credential(widget=HiddenInput)


class CountedChangePassword(ChangePasswordForm):  # type: ignore[misc]
    def clean_oldpassword(self) -> str:
        old: str = self.cleaned_data.get("oldpassword", "")
        adapter = get_adapter()
        if not adapter.reauthenticate(self.user, old):
            raise adapter.validation_error("enter_current_password")
        return old


class OwnAddressReset(ResetPasswordForm):  # type: ignore[misc]
    """Sends to the account's own address; to an address without an account nothing goes."""

    def clean_email(self) -> str:
        email: str = self.cleaned_data["email"].strip().lower()
        self.users = list(User.objects.filter(email=email, is_active=True))
        return email

    def save(self, request: HttpRequest, **kwargs: Any) -> str:
        email: str = self.cleaned_data["email"]
        try:
            proofs.begin(
                subject=proofs.subject_of(f"reset:{email}"),
                place=place_of(request, ""),
                limits=proofs.CODE,
            )
        except proofs.TooManyAttempts:
            return email  # the page says the same: it tells nobody whom we mail
        return str(super().save(request, **kwargs))
