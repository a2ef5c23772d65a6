"""Which identity provider a tenant's members sign in with. Only owners decide, and only among the
hosts that the operator allows: the server itself fetches from there."""

import uuid
from dataclasses import dataclass
from urllib.parse import SplitResult, urlsplit

from django.conf import settings
from django.db import transaction

from tenants.access import require_owner
from tenants.errors import Invalid
from tenants.models import Membership, SignInProvider
from tenants.roles import Role
from tenants.services.audit import note, record
from tenants.services.failures import ACTOR
from tenants.services.vaults import open_vault

DECIDES = "how members sign in"
LONGEST_EMAIL = 254  # characters; a provider may say anything
LOOPBACK = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True)
class Provider:
    issuer: str
    client_id: str
    secret: str


def set_provider(*, issuer: str, client_id: str, secret: str, role: Role, actor: str) -> None:
    """Replaces the open scope's provider. Raises Refused for anybody but an owner, and Invalid."""
    require_owner(role, DECIDES)
    issuer = issuer.strip().rstrip("/")
    require_allowed(issuer)
    if not client_id.strip() or not secret.strip():
        raise Invalid(
            "client_missing",
            "The client's id and its secret are both needed.",
            fix="Register this server with the provider and copy both from there.",
            param="client_id",
        )
    _forget()
    name = f"sign-in/{uuid.uuid4()}"
    open_vault().put_bytes(name, secret.strip().encode())
    SignInProvider.objects.create(issuer=issuer, client_id=client_id.strip(), secret_object=name)
    record(actor=actor, action="sign_in.provider", target=issuer)


def remove_provider(*, role: Role, actor: str) -> None:
    """Raises Refused for anybody but an owner."""
    require_owner(role, DECIDES)
    if _forget():
        record(actor=actor, action="sign_in.provider_removed")


def note_refused(*, email: str, address: str) -> None:
    """Somebody came back from the open scope's provider, as `email`, and was not let in; once an
    hour for each address of theirs."""
    note(actor=ACTOR.at(address), action="sign_in.refused", target=email[:LONGEST_EMAIL])


def provider() -> Provider | None:
    """The open scope's provider, with its secret."""
    row = SignInProvider.objects.first()
    if row is None:
        return None
    secret = open_vault().read_bytes(row.secret_object).decode()
    return Provider(row.issuer, row.client_id, secret)


def member_of_address(email: str) -> Membership | None:
    """The open scope's member of that address: a provider speaks for members and nobody else."""
    found = Membership.objects.filter(user__email=email.strip().lower(), user__is_active=True)
    return found.select_related("user").first()


def _forget() -> bool:
    row = SignInProvider.objects.select_for_update().first()
    if row is None:
        return False
    row.delete()
    vault, name = open_vault(), row.secret_object
    transaction.on_commit(lambda: vault.delete(name))
    return True


def require_allowed(issuer: str) -> None:
    """Raises Invalid for a provider that the operator does not allow."""
    parts = _parts(issuer)
    if not _is_safe(parts) or parts.query or parts.fragment or parts.username:
        raise Invalid(
            "invalid_issuer",
            "The issuer must be a plain https:// address.",
            fix="Copy it from the provider, e.g. https://login.example.com/realms/staff.",
            param="issuer",
        )
    if not is_fetched(issuer):
        raise Invalid(
            "issuer_not_allowed",
            f"The operator of this server does not allow the provider {parts.netloc!r}.",
            fix="Ask the operator to add it to PRIVATUNE_OIDC_HOSTS.",
            param="issuer",
        )


def is_fetched(address: str) -> bool:
    """Whether the server may connect there for a sign-in: what a provider's own document names is
    a stranger's word."""
    parts = _parts(address)
    return _is_safe(parts) and parts.netloc.lower() in settings.OIDC_HOSTS


def _parts(address: str) -> SplitResult:
    try:
        return urlsplit(address)
    except ValueError:  # `https://[::1`
        return urlsplit("")


def _is_safe(parts: SplitResult) -> bool:
    return parts.scheme == "https" or (parts.scheme == "http" and parts.hostname in LOOPBACK)
