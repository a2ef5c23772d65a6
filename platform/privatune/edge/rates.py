"""How often a key, a tenant, a person in the portal, and an address without any of them may ask."""

from finetune.api.identity import Caller
from privatune.edge.recent import Recent
from privatune.edge.refusals import too_many
from tenants.buckets import Buckets, Level, duration
from tenants.limits import share

MINUTE = 60.0
REMEMBERED = 60.0  # seconds that a good key is known as good; only to be let past the flood guard


class Floods:
    """Limits whoever shows no good credentials, by address, before any database work.

    Who holds a good key is let past, or one neighbour behind the same proxy could lock out all.
    """

    def __init__(self, limit: int) -> None:
        self._unknown = Buckets(share(limit), MINUTE)
        self._good: Recent[tuple[str, bytes], bool] = Recent(REMEMBERED)

    def admit(self, party: str, credentials: bytes) -> None:
        """Raises Refusal (429) when the address, or a person in the portal, has used up what such
        may ask."""
        if self._good.get((party, credentials)):
            return
        level = self._unknown.look(party)
        if level.left < 1:
            raise too_many(
                "too_many_requests",
                "Too many requests without a valid API key came from here.",
                level.wait_for(1),
            )

    def count(self, party: str) -> None:
        self._unknown.take(party)

    def remember(self, address: str, credentials: bytes) -> None:
        """Good from that address; a key may be refused from another."""
        self._good.put((address, credentials), True)

    def forget(self, address: str, credentials: bytes) -> None:
        """What was good a moment ago was refused: a revoked key, somebody else's room."""
        self._good.drop((address, credentials))


class Rates:
    """Requests per minute of one key, and of all keys of a tenant. A tenant to which the operator
    gave limits of its own brings them along."""

    def __init__(self, per_key: int, per_tenant: int) -> None:
        self._per_key, self._per_tenant = per_key, per_tenant
        self._keys = Buckets(per_key, MINUTE)
        self._tenants = Buckets(per_tenant, MINUTE)

    def count(self, caller: Caller) -> list[tuple[bytes, bytes]]:
        """OpenAI's `x-ratelimit-*` headers of the answer. Raises Refusal (429) beyond a limit."""
        mark, tenant = caller.mark, str(caller.principal.tenant_id)
        own = caller.principal.rates
        per_key = share(own.key or self._per_key)
        per_tenant = share(own.tenant or self._per_tenant)
        key_ok = self._keys.take(mark, limit=per_key)
        tenant_ok = key_ok and self._tenants.take(tenant, limit=per_tenant)
        key = self._keys.look(mark, limit=per_key)
        whole = self._tenants.look(tenant, limit=per_tenant)
        tighter = min(key, whole, key=lambda level: level.share)
        headers = _headers(tighter)
        if not tenant_ok:
            whose = "organisation" if key_ok else "key"
            refusal = too_many(
                "rate_limit_exceeded",
                f"Rate limit reached: {tighter.limit} requests per minute for this {whose}.",
                max(key.wait_for(1), whole.wait_for(1)),
                fix="Wait as `retry-after` says, or ask the operator for a higher limit.",
            )
            refusal.headers = headers
            raise refusal
        return headers


def _headers(level: Level) -> list[tuple[bytes, bytes]]:
    return [
        (b"x-ratelimit-limit-requests", str(level.limit).encode()),
        (b"x-ratelimit-remaining-requests", str(int(level.left)).encode()),
        (b"x-ratelimit-reset-requests", duration(level.full_in).encode()),
    ]
