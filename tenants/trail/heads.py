"""Signed heads: the operator's word on where a tenant's chain stood at a time. Pure.

A chain alone can be recomputed by whoever may write the table; a head signed with the operator's
P-256 key cannot. ECDSA over SHA-256, DER, base64: `openssl dgst -sha256 -verify` checks one.
"""

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

_UNREADABLE = (ValueError, TypeError, UnsupportedAlgorithm)  # what reading a PEM raises
_SIGNED = ("tenant", "seq", "digest", "at")


class BadKey(ValueError):
    """What was given is no P-256 key in PEM."""


def sign_head(private_pem: bytes, *, tenant: str, seq: int, digest: str, at: str) -> dict[str, Any]:
    """The head as it is kept and exported. Raises BadKey."""
    key = private_key(private_pem)
    head: dict[str, Any] = {"tenant": tenant, "seq": seq, "digest": digest, "at": at}
    signature = key.sign(signed_text(head), ec.ECDSA(hashes.SHA256()))
    return head | {
        "signer": fingerprint(public_pem(private_pem)),
        "signature": base64.b64encode(signature).decode(),
    }


def signed_text(head: Mapping[str, Any]) -> bytes:
    body = {"type": "privatune-audit-head", **{name: head[name] for name in _SIGNED}}
    return json.dumps(body, sort_keys=True, separators=(",", ":")).encode()


def head_fits(head: Mapping[str, Any], public: str) -> bool:
    """Whether the signature is that key's. Raises BadKey when `public` is none."""
    return signature_fits(head["signature"], signed_text(head), public)


def signature_fits(signature: Any, text: bytes, public: str) -> bool:
    """Whether `signature` (base64, whatever a stranger wrote) is that key's over `text`. Raises
    BadKey when `public` is none."""
    key = public_key(public)
    try:
        key.verify(base64.b64decode(signature, validate=True), text, ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, ValueError, TypeError):  # another's; no base64 or no ASCII; no text
        return False
    return True


def public_pem(private_pem: bytes) -> str:
    """The public half. Raises BadKey."""
    public = private_key(private_pem).public_key()
    pem = public.public_bytes(
        serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return pem.decode("ascii")


def fingerprint(public: str) -> str:
    """`sha256:<hex>` of the public key in DER, the same as an artifact's signer has."""
    der = public_key(public).public_bytes(
        serialization.Encoding.DER, serialization.PublicFormat.SubjectPublicKeyInfo
    )
    return "sha256:" + hashlib.sha256(der).hexdigest()


def private_key(pem: bytes) -> ec.EllipticCurvePrivateKey:
    try:
        key = serialization.load_pem_private_key(pem, password=None)
    except _UNREADABLE as error:
        raise BadKey(f"the signing key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name != "secp256r1":
        raise BadKey("the signing key is not a P-256 key")
    return key


def public_key(pem: str) -> ec.EllipticCurvePublicKey:
    try:
        key = serialization.load_pem_public_key(pem.encode())
    except _UNREADABLE as error:
        raise BadKey(f"the public key cannot be read: {error}") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name != "secp256r1":
        raise BadKey("the public key is not a P-256 key")
    return key
