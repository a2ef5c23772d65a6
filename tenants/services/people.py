"""Accounts of people, apart from any tenant: who owns which address, and how an account begins."""

from allauth.account.models import EmailAddress
from allauth.mfa.models import Authenticator
from django.contrib.auth.password_validation import validate_password
from django.core.exceptions import ValidationError
from django.core.validators import validate_email
from django.db import IntegrityError, transaction

from tenants.access import belongings_of
from tenants.errors import Conflict, Invalid
from tenants.models import User

MOST_ADDRESS = 254  # characters of an e-mail address (RFC 5321), and of its column


def same_address(email: str) -> str:
    """The form under which addresses are kept and compared."""
    return str(User.objects.normalize_email(email)).lower()


def require_address(email: str) -> str:
    """`same_address` of what may be written to. Raises Invalid for anything else."""
    address = same_address(email)
    try:
        validate_email(address)
    except ValidationError:
        problem = f"{email!r} is no e-mail address."
    else:
        if len(address) <= MOST_ADDRESS:
            return address
        problem = f"An e-mail address has at most {MOST_ADDRESS} characters."
    raise Invalid(
        "invalid_email", problem, fix="Write it as name@organisation.example.", param="email"
    )


def owns_address(*, user: User, email: str, verified: bool) -> bool:
    """Whether the account has the address, and has been shown to if `verified` is asked."""
    held = EmailAddress.objects.filter(user=user, email__iexact=email)
    return bool(held.filter(verified=True).exists() if verified else held.exists())


def create_user(*, email: str, password: str | None, verified: bool = True) -> User:
    """A person without any tenant. The operator vouches for the address; an invited person's is
    `verified` when the invitation reached them through it. Raises Conflict when it is taken, and
    Invalid for what is no address."""
    address = require_address(email)
    try:
        with transaction.atomic():
            user = User.objects.create_user(address, password)
            EmailAddress.objects.create(user=user, email=address, primary=True, verified=verified)
    except IntegrityError:
        raise Conflict(
            "email_taken",
            f"There is a user {email!r} already.",
            fix="Give another address, or let an owner invite this person in the portal.",
        ) from None
    return user


def begin_account(*, email: str, password: str, proven: bool) -> User:
    """The account of somebody who holds an invitation to the address and has none yet.

    `proven`: the invitation came through that mailbox; else the inviter vouches for the address.
    An account that somebody else began with it, and never showed to own it, is taken from them
    (password, second factors and with them every session) by whoever reads the mailbox, and by
    whoever is vouched for once it belongs to no organisation any more. Raises Invalid for a weak
    password, whether or not there is an account, and Conflict when there is somebody's.
    """
    address = same_address(email)
    check_password(password, User(email=address))
    existing = User.objects.select_for_update().filter(email__iexact=address).first()
    if existing is None:
        return create_user(email=address, password=password, verified=proven)
    if not _is_nobodys(existing, proven):
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
        EmailAddress.objects.create(user=existing, email=address, primary=True, verified=proven)
    return existing


def _is_nobodys(user: User, proven: bool) -> bool:
    """Whether nobody was shown to own the account's address, and nothing stands behind it that the
    next holder could reach."""
    if user.is_staff or owns_address(user=user, email=user.email, verified=True):
        return False
    return proven or not belongings_of(user.pk)


def check_password(password: str, user: User) -> None:
    """Raises Invalid saying what the password lacks."""
    try:
        validate_password(password, user)
    except ValidationError as error:
        raise Invalid("weak_password", " ".join(error.messages), param="password") from None
