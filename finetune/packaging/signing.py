"""Signatures over a folder with `model-signing` and a P-256 key, in the Sigstore bundle format."""

import hashlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec

from faults import OurFault, UserFault

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # what reading a PEM raises


def generate_key() -> bytes:
    """A new P-256 private key as unencrypted PKCS#8 PEM; whoever calls keeps it secret."""
    return ec.generate_private_key(ec.SECP256R1()).private_bytes(
        serialization.Encoding.PEM,
        serialization.PrivateFormat.PKCS8,
        serialization.NoEncryption(),
    )


@dataclass(frozen=True)
class Signer:
    """A private key ready to sign, and what others need to recognise it."""

    private_pem: bytes
    public_pem: str
    fingerprint: str

    def __repr__(self) -> str:
        return f"Signer({self.fingerprint})"  # never the key

    def sign(self, folder: Path, signature: Path) -> None:
        """Sign every file in `folder` but `signature` itself, which may lie inside.

        Git's files are signed too, other than by the library's default: an artifact has none, so
        none may appear later.
        """
        from model_signing.signing import Config

        with _in_memory(self.private_pem) as key:
            config = Config().use_elliptic_key_signer(private_key=key)
            config.set_hashing_config(_hashing(folder, signature)).sign(folder, signature)


def load_signer(private_pem: bytes | str) -> Signer:
    """The signer of a PEM private key. OurFault `signing_key` unless it is a plain P-256 key."""
    pem = private_pem.encode() if isinstance(private_pem, str) else private_pem
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _UNREADABLE as error:
        raise OurFault("signing_key", f"The signing key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise OurFault("signing_key", "The signing key is not a P-256 key.")
    public = key.public_key().public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return Signer(pem, public.decode("ascii"), fingerprint(public))


def fingerprint(public_pem: bytes | str) -> str:
    """`sha256:<hex>` of the public key in DER: `openssl pkey -pubin -outform DER | sha256sum`.

    UserFault `public_key` when it is no P-256 public key.
    """
    pem = public_pem.encode() if isinstance(public_pem, str) else public_pem
    try:
        key = serialization.load_pem_public_key(pem)
    except _UNREADABLE as error:
        raise UserFault("public_key", f"The public key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise UserFault("public_key", "The public key is not a P-256 key.")
    der = key.public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256:" + hashlib.sha256(der).hexdigest()


def check_signature(folder: Path, signature: Path, public_pem: str) -> str | None:
    """None when `signature` fits the key and every file; otherwise what is wrong."""
    from model_signing.verifying import Config
    from sigstore_models.bundle.v1 import Bundle

    try:
        text = signature.read_text(encoding="utf-8")
        # One spelling only: else bytes that the library never looks at could be changed.
        bundle = Bundle.from_json(text)
        named = bundle.verification_material.public_key
        if bundle.to_json() != text or named is None or not named.hint:
            return "the signature file is not spelled as model-signing writes it"
        with tempfile.NamedTemporaryFile(suffix=".pem") as key:
            key.write(public_pem.encode())
            key.flush()
            config = Config().use_elliptic_key_verifier(public_key=key.name)
            config.set_hashing_config(_hashing(folder, signature)).verify(folder, signature)
    except Exception as error:  # whatever a forged file makes the library raise, it is refused
        return f"{type(error).__name__}: {error}"
    return None


@contextmanager
def _in_memory(secret: bytes) -> Iterator[str]:
    """A path to read `secret` from that is on no disk: the library takes keys by path only."""
    handle = os.memfd_create("key", os.MFD_CLOEXEC)
    try:
        os.write(handle, secret)
        yield f"/proc/self/fd/{handle}"
    finally:
        os.close(handle)


def _hashing(folder: Path, signature: Path) -> Any:
    from model_signing.hashing import Config

    ignored = [signature.relative_to(folder)] if signature.is_relative_to(folder) else []
    return Config().set_ignored_paths(paths=ignored, ignore_git_paths=False)
