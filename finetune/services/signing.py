"""The operator's signing key, from the file that the settings name; made there when absent. Only
the processes that publish are told where it is; the others know its public half."""

import os
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from finetune.errors import OurFault
from finetune.packaging.signing import generate_key, load_signer


def signing_key() -> bytes:
    """The private key as PEM. Raises OSError when the file cannot be read or made, and OurFault
    in a process that must not sign."""
    path: Path | None = settings.SIGNING_KEY_FILE
    if path is None:
        raise OurFault("signing_key_not_ours", "This process must not know the signing key.")
    with suppress(FileNotFoundError):
        return path.read_bytes()
    _create(path)
    return path.read_bytes()


def public_key_pem() -> str:
    """What customers verify with; safe to give to anybody."""
    if settings.SIGNING_KEY_FILE is not None:
        return load_signer(signing_key()).public_pem
    return Path(settings.SIGNING_PUBLIC_KEY_FILE).read_text("ascii")


def _create(path: Path) -> None:
    """Two processes may start at once: the first one's key stays."""
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    partial = path.with_name(f".{path.name}.{os.getpid()}")
    descriptor = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(generate_key())
        os.fsync(file.fileno())
    with suppress(FileExistsError):
        os.link(partial, path)
    partial.unlink()
