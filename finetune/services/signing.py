"""The operator's signing key, from the file that the settings name; made there when absent."""

import os
from contextlib import suppress
from pathlib import Path

from django.conf import settings

from finetune.packaging.signing import generate_key, load_signer


def signing_key() -> bytes:
    """The private key as PEM. Raises OSError when the file cannot be read or made."""
    path: Path = settings.SIGNING_KEY_FILE
    with suppress(FileNotFoundError):
        return path.read_bytes()
    _create(path)
    return path.read_bytes()


def public_key_pem() -> str:
    """What customers verify with; safe to give to anybody."""
    return load_signer(signing_key()).public_pem


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
