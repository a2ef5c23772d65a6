"""The operator's signing key, from the file that the settings name. Only the processes that publish
are told where it is; the others know its public half. It is made by `privatune keys init` alone."""

from pathlib import Path

from django.conf import settings

from faults import OurFault
from finetune.packaging.signing import load_signer
from tenants.vault.keyfiles import read_key_file


def signing_key() -> bytes:
    """The private key as PEM. Raises KeyUnavailable when the file cannot be read, and OurFault in
    a process that must not sign."""
    path: Path | None = settings.SIGNING_KEY_FILE
    if path is None:
        raise OurFault("signing_key_not_ours", "This process must not know the signing key.")
    return read_key_file(path, "signing key")


def public_key_pem() -> str:
    """What customers verify with; safe to give to anybody."""
    if settings.SIGNING_KEY_FILE is not None:
        return load_signer(signing_key()).public_pem
    return Path(settings.SIGNING_PUBLIC_KEY_FILE).read_text("ascii")
