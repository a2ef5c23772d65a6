"""Who asks, read from a request's headers, and how its retries are told from new wishes."""

import hashlib
from dataclasses import dataclass

from django.http import HttpRequest

from tenants.access import Principal, authenticate_key, digest_of
from tenants.actor import Actor
from tenants.errors import Invalid, NotAuthenticated
from tenants.services.idempotency import Attempt

LONGEST_KEY = 255


@dataclass(frozen=True)
class Caller:
    """`mark` tells one API key from another without holding the key."""

    principal: Principal
    mark: str

    @property
    def actor(self) -> Actor:
        return self.principal.actor


def identify(request: HttpRequest) -> Caller:
    """The caller of a `Authorization: Bearer` header. Raises NotAuthenticated (401)."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticated(
            "missing_api_key",
            "You did not provide an API key.",
            fix="Send the header `Authorization: Bearer <key>`.",
        )
    secret = secret.strip()
    return Caller(authenticate_key(secret), digest_of(secret)[:32])


def attempt_of(request: HttpRequest, caller: Caller, fingerprint: str) -> Attempt:
    """`fingerprint` stands for the body: what must be equal for two requests to be the same."""
    key = request.headers.get("Idempotency-Key")
    if key is not None and not 1 <= len(key) <= LONGEST_KEY:
        raise Invalid(
            "invalid_idempotency_key",
            f"An Idempotency-Key has 1 to {LONGEST_KEY} characters.",
        )
    retries = request.headers.get("x-stainless-retry-count", "0")
    return Attempt(
        caller=caller.mark,
        route=f"{request.method} {request.path}"[:120],
        body_sha256=hashlib.sha256(fingerprint.encode()).hexdigest(),
        key=key,
        is_retry=retries.isdigit() and int(retries) > 0,
    )
