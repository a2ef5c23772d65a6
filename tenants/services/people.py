"""Accounts of people, apart from any tenant: who owns which address, and how an account begins."""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.db import IntegrityError, transaction

from tenants.errors import Conflict, Invalid
from tenants.models import User


def same_address(email: str) -> str:
    """The form under which addresses are kept and compared."""
    return str(User.objects.normalize_email(email)).lower()


def owns_address(*, user: User, email: str, verified: bool) -> bool:
    """Whether the account has the address, and has been shown to if `verified` is asked."""
    held = EmailAddress.objects.filter(user=user, email__iexact=email)
    return bool(held.filter(verified=True).exists() if verified else held.exists())


def create_user(*, email: str, password: str | None, verified: bool = True) -> User:
    """A person without any tenant. The operator vouches for the address; an invited person's is
    `verified` when the invitation reached them through it. Raises Conflict when it is taken."""
    address = same_address(email)
    try:
        with transaction.atomic():
            user = User.objects.create_user(address, password)
            EmailAddress.objects.create(user=user, email=address, primary=True, verified=verified)
    except IntegrityError:
        raise Conflict("email_taken", f"There is a user {email!r} already.") from None
    return user


def begin_account(*, email: str, password: str, proven: bool) -> User:
    """The account of somebody who holds an invitation to the address and has none yet.

    `proven`: the invitation came through that mailbox. Then an account that somebody else began
    with the address, and never showed to own it, is taken from them: password, second factors and
    with them every session. Raises Invalid for a weak password, Conflict when there is an account.
    """
    address = same_address(email)
    existing = User.objects.filter(email__iexact=address).first()
    check_password(password, existing or User(email=address))
    if existing is None:
        return create_user(email=address, password=password, verified=proven)
    if not proven or owns_address(user=existing, email=address, verified=True):
        raise Conflict(
            "account_exists",
            "There is an account with this address already.",
            fix="Sign in with it, then open the invitation again.",
        )
    with transaction.atomic():
        existing.set_password(password)
        existing.save(update_fields=["password"])
        Authenticator.objects.filter(user=existing).delete()
        EmailAddress.objects.filter(user=existing).delete()
        EmailAddress.objects.create(user=existing, email=address, primary=True, verified=True)
    return existing


def check_password(password: str, user: User) -> None:
    """Raises Invalid saying what the password lacks."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid("weak_password", " ".join(error.messages), param="password") from None
