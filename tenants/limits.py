"""What one tenant may use: the settings' defaults, or what the operator gave it instead."""

from dataclasses import dataclass

from django.conf import settings

from tenants.models import Tenant

MB = 1 << 20


@dataclass(frozen=True)
class Limits:
    """`storage_mb` in all; the others a minute, `key_requests` of each API key."""

    storage_mb: int
    requests: int
    key_requests: int
    tokens: int

    @property
    def storage_bytes(self) -> int:
        return self.storage_mb * MB


# The field of the tenant, by the limit it replaces.
FIELDS = {
    "storage_mb": "storage_mb",
    "requests": "requests_per_minute",
    "key_requests": "key_requests_per_minute",
    "tokens": "tokens_per_minute",
}


def default_limits() -> Limits:
    return Limits(
        storage_mb=settings.TENANT_STORAGE_MB,
        requests=settings.TENANT_REQUESTS_PER_MINUTE,
        key_requests=settings.KEY_REQUESTS_PER_MINUTE,
        tokens=settings.TENANT_TOKENS_PER_MINUTE,
    )


def limits_of(tenant: Tenant) -> Limits:
    usual = default_limits()
    return Limits(
        **{name: getattr(tenant, field) or getattr(usual, name) for name, field in FIELDS.items()}
    )


def share(limit: int) -> int:
    """What each of the deployment's web processes may let through of a limit that holds for all of
    them: they keep their counts apart."""
    return max(1, limit // settings.WEB_PROCESSES)
