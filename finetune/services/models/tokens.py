"""Tokens a minute that a tenant may ask its models for, counted as OpenAI does: prompt and longest
answer are taken before the work begins, and what the answer did not need is given back at its end.

Kept in the memory of the web process, on its event loop.
"""

from uuid import UUID

from faults import UserFault
from tenants.buckets import Buckets, Level, duration
from tenants.limits import share

MINUTE = 60.0
_TENANTS = Buckets(1, MINUTE)  # each call brings its tenant's own limit


class TokensUsedUp(UserFault):
    """`retry_after`: seconds; None when the request is larger than the limit and never fits."""

    status = 429
    ran_out = "tokens"

    def __init__(self, message: str, fix: str, level: Level, retry_after: int | None) -> None:
        super().__init__("rate_limit_exceeded", message, fix=fix)
        self.retry_after = retry_after
        self.headers = _headers(level)
        if retry_after is None:
            self.headers["x-should-retry"] = "false"


class Reservation:
    """What one request, of one answer or several, has taken. `headers` go with its answer."""

    def __init__(self, tenant_id: UUID, limit: int, amount: int, answers: int) -> None:
        self.headers = _headers(_TENANTS.look(str(tenant_id), limit=limit))
        self._name, self._limit = str(tenant_id), limit
        self._left, self._answers = amount, answers

    def spend(self, tokens: int) -> None:
        """One of its answers is complete and took so many. After the last the rest goes back; an
        answer that breaks off, or whose reader leaves, keeps all that was taken for it."""
        self._left -= tokens
        self._answers -= 1
        if self._answers == 0:
            self.release()

    def release(self) -> None:
        """Nothing more is asked for it."""
        left, self._left = self._left, 0
        if left > 0:
            _TENANTS.give(self._name, left, limit=self._limit)


def reserve(*, tenant_id: UUID, per_minute: int, amount: int, answers: int = 1) -> Reservation:
    """Takes `amount` tokens of the tenant's. Raises TokensUsedUp (429), and takes none."""
    limit = share(per_minute)
    if not _TENANTS.take(str(tenant_id), amount, limit=limit):
        raise _used_up(_TENANTS.look(str(tenant_id), limit=limit), amount)
    return Reservation(tenant_id, limit, amount, answers)


def _used_up(level: Level, amount: int) -> TokensUsedUp:
    if amount > level.limit:
        return TokensUsedUp(
            f"Request too large: it may take {amount} tokens (prompt and max_tokens), and the "
            f"limit of your organisation is {level.limit} tokens per minute.",
            "Lower `max_tokens` or `n`, shorten the prompt, or ask the operator for more.",
            level,
            None,
        )
    return TokensUsedUp(
        f"Rate limit reached: {level.limit} tokens per minute for this organisation; "
        f"{int(level.left)} are left and this request may take {amount}.",
        "Wait as `retry-after` says, lower `max_tokens`, or ask the operator for a higher limit.",
        level,
        max(1, round(level.wait_for(amount) + 0.5)),
    )


def _headers(level: Level) -> dict[str, str]:
    return {
        "x-ratelimit-limit-tokens": str(level.limit),
        "x-ratelimit-remaining-tokens": str(int(level.left)),
        "x-ratelimit-reset-tokens": duration(level.full_in),
    }
