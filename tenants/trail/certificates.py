"""Deletion certificates: the operator's signed word that a tenant's key and data were destroyed.

Pure: the operator issues them, and anybody with the operator's public key checks them offline.
"""

import base64
import binascii
import json
from collections.abc import Mapping
from typing import Any

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tenants.trail.heads import BadKey, fingerprint, private_key, public_key, public_pem

TYPE = "privatune-deletion-certificate"
PROOF = ("signature", "signer", "public_key_pem")


def sign_certificate(private_pem: bytes, facts: Mapping[str, Any]) -> dict[str, Any]:
    """`facts` (JSON values) with type, signer, its public key and the signature. Raises BadKey."""
    body = {"type": TYPE, "version": 1, **facts}
    signature = private_key(private_pem).sign(signed_text(body), ec.ECDSA(hashes.SHA256()))
    public = public_pem(private_pem)
    return body | {
        "signer": fingerprint(public),
        "public_key_pem": public,
        "signature": base64.b64encode(signature).decode(),
    }


def signed_text(certificate: Mapping[str, Any]) -> bytes:
    body = {name: value for name, value in certificate.items() if name not in PROOF}
    return json.dumps(body, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()


def problem_of(
    certificate: Any, *, public: str | None = None, trusted_fingerprint: str | None = None
) -> str | None:
    """What is wrong with the certificate, or None. Without `public` (PEM) or a fingerprint the key
    inside is used, which proves that nothing changed, not who signed. Raises BadKey for `public`.
    """
    if not isinstance(certificate, dict) or certificate.get("type") != TYPE:
        return "This is no deletion certificate."
    wanted = fingerprint(public) if public is not None else trusted_fingerprint
    pem = public if public is not None else str(certificate.get("public_key_pem"))
    try:
        if wanted is not None and fingerprint(pem) != wanted:
            return f"It is signed by {fingerprint(pem)}, not by the expected {wanted}."
        signature = base64.b64decode(str(certificate.get("signature")), validate=True)
        public_key(pem).verify(signature, signed_text(certificate), ec.ECDSA(hashes.SHA256()))
    except (InvalidSignature, binascii.Error):
        return "The signature does not fit: the certificate was changed, or another key signed it."
    except BadKey as error:
        if public is not None:
            raise
        return f"The key inside cannot be read: {error}."
    return None
