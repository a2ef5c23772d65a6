"""Deletion certificates: the operator's signed word that a tenant's key and data were destroyed.

Pure: the operator issues them, and anybody with the operator's public key checks them offline.
"""

import base64
import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec

from tenants.trail.heads import BadKey, fingerprint, private_key, public_pem, signature_fits

TYPE = "privatune-deletion-certificate"
PROOF = ("signature", "signer", "public_key_pem")
FACTS = (
    *("tenant", "slug", "key_fingerprint", "key_destroyed_at", "finished_at"),
    *("destroyed", "backups"),
)

Trust = Literal["key", "fingerprint", "embedded"]


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


@dataclass(frozen=True)
class Verdict:
    """`signer`: the fingerprint of the key that the signature fits, never what the file says of
    itself; `trust`: what it was compared with, `embedded` for nothing."""

    trust: Trust
    signer: str | None = None
    problem: str | None = None


def check_certificate(
    certificate: Any, *, public: str | None = None, trusted_fingerprint: str | None = None
) -> Verdict:
    """Without `public` (PEM) or a fingerprint the key inside is used, which proves that nothing
    changed, not who signed. Raises BadKey for `public`."""
    trust: Trust = "key" if public else "fingerprint" if trusted_fingerprint else "embedded"
    wanted = fingerprint(public) if public is not None else trusted_fingerprint
    if not isinstance(certificate, dict) or certificate.get("type") != TYPE:
        return Verdict(trust, problem="This is no deletion certificate.")
    pem = public if public is not None else str(certificate.get("public_key_pem"))
    try:
        signer = fingerprint(pem)
    except BadKey as error:
        return Verdict(trust, problem=f"The key inside cannot be read: {error}.")
    return _judge(certificate, pem, Verdict(trust, signer), wanted)


def _judge(
    certificate: Mapping[str, Any], pem: str, verdict: Verdict, wanted: str | None
) -> Verdict:
    signer, told = verdict.signer, certificate.get("signer")
    if wanted is not None and signer != wanted:
        return replace(verdict, problem=f"It is signed by {signer}, not by the expected {wanted}.")
    if not signature_fits(certificate.get("signature"), signed_text(certificate), pem):
        problem = "The signature does not fit: the certificate was changed, or another key signed."
        return replace(verdict, signer=None, problem=problem)
    if told != signer:
        return replace(verdict, problem=f"It names {told!a} as its signer, but {signer} signed it.")
    if not all(name in certificate for name in FACTS) or not all(
        isinstance(certificate[name], dict) for name in ("destroyed", "backups")
    ):
        return replace(verdict, problem="It lacks what a deletion certificate says.")
    return verdict
