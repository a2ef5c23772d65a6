"""Who asks, read from a request's headers, and how its retries are told from new wishes."""

import hashlib
import time
from dataclasses import dataclass

from django.http import HttpRequest

from tenants.access import Principal
from tenants.actor import Actor
from tenants.addresses import client_address
from tenants.errors import Invalid, NotAuthenticated
from tenants.services.idempotency import Attempt
from tenants.services.key_use import admit_key

LONGEST_KEY = 255
EDGE = "privatune.caller"  # where the server leaves a Known in the ASGI scope
FRESH = 2.0  # seconds


@dataclass(frozen=True)
class Caller:
    """`mark` tells one API key from another without holding the key, also while it is rotated."""

    principal: Principal
    mark: str

    @property
    def actor(self) -> Actor:
        return self.principal.actor


@dataclass(frozen=True)
class Known:
    """A caller that the server has identified before it took the body, and when."""

    caller: Caller
    at: float  # time.monotonic()


def caller_of(request: HttpRequest) -> Caller:
    """As `identify`, asked once a request. A key is asked for again when the body took long: it
    may have been revoked meanwhile."""
    known = getattr(request, "scope", {}).get(EDGE)
    if isinstance(known, Known) and time.monotonic() - known.at < FRESH:
        return known.caller
    return identify(request)


def identify(request: HttpRequest) -> Caller:
    """The caller of a `Authorization: Bearer` header. Raises NotAuthenticated (401), and Refused
    (403) for a key that may not be used from the request's address."""
    scheme, _, secret = request.headers.get("Authorization", "").partition(" ")
    if scheme.lower() != "bearer" or not secret:
        raise NotAuthenticated(
            "missing_api_key",
            "You did not provide an API key.",
            fix="Send the header `Authorization: Bearer <key>`.",
        )
    principal = admit_key(secret=secret.strip(), address=client_address(request))
    assert principal.key_id is not None
    return Caller(principal, principal.key_id.hex)


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
        is_retry=retries.isascii() and retries.isdecimal() and retries.strip("0") != "",
    )
