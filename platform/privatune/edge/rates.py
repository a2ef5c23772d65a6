"""How often a key, a tenant, and an address without a good key may ask."""

import time
from collections import OrderedDict

from finetune.api.identity import Caller
from privatune.edge.buckets import Buckets, Level
from privatune.edge.refusals import too_many

MINUTE = 60.0
REMEMBERED = 60.0  # seconds that a good key is known as good; only to be let past the flood guard
MOST_REMEMBERED = 10_000


class Floods:
    """Limits an address that shows no good credentials, before any database work.

    Who holds a good key is let past, or one neighbour behind the same proxy could lock out all.
    """

    def __init__(self, limit: int) -> None:
        self._unknown = Buckets(limit, MINUTE)
        self._good: OrderedDict[tuple[str, bytes], float] = OrderedDict()

    def admit(self, address: str, credentials: bytes) -> None:
        """Raises Refusal (429) when the address has used up what strangers may ask."""
        if self._good.get((address, credentials), 0.0) > time.monotonic():
            return
        level = self._unknown.look(address)
        if level.left < 1:
            raise too_many(
                "too_many_requests",
                "There were too many requests without valid credentials from this address.",
                level.one_in,
            )

    def count(self, address: str) -> None:
        self._unknown.take(address)

    def remember(self, address: str, credentials: bytes) -> None:
        """Good from that address; a key may be refused from another."""
        self._good[address, credentials] = time.monotonic() + REMEMBERED
        self._good.move_to_end((address, credentials))
        if len(self._good) > MOST_REMEMBERED:
            self._good.popitem(last=False)

    def forget(self, address: str, credentials: bytes) -> None:
        """What was good a moment ago was refused: a revoked key, somebody else's room."""
        self._good.pop((address, credentials), None)


class Rates:
    """Requests per minute of one key, and of all keys of a tenant."""

    def __init__(self, per_key: int, per_tenant: int) -> None:
        self._keys = Buckets(per_key, MINUTE)
        self._tenants = Buckets(per_tenant, MINUTE)

    def count(self, caller: Caller) -> list[tuple[bytes, bytes]]:
        """OpenAI's `x-ratelimit-*` headers of the answer. Raises Refusal (429) beyond a limit."""
        tenant = str(caller.principal.tenant_id)
        key_ok = self._keys.take(caller.mark)
        tenant_ok = key_ok and self._tenants.take(tenant)
        key, whole = self._keys.look(caller.mark), self._tenants.look(tenant)
        tighter = min(key, whole, key=lambda level: level.share)
        headers = _headers(tighter)
        if not tenant_ok:
            whose = "organisation" if key_ok else "key"
            refusal = too_many(
                "rate_limit_exceeded",
                f"Rate limit reached: {tighter.limit} requests per minute for this {whose}.",
                max(key.one_in, whole.one_in),
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


def duration(seconds: float) -> str:
    """As OpenAI writes it: `20ms`, `1.5s`, `6m0s`."""
    if seconds < 1:
        return f"{max(0, round(seconds * 1000))}ms"
    minutes, rest = divmod(seconds, 60)
    return f"{int(minutes)}m{int(rest)}s" if minutes else f"{rest:.3g}s"
