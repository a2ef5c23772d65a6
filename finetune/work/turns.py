"""How many works of a kind a tenant may have that have not ended: each takes workers' time, and
nothing else bounds what is asked for."""

from collections.abc import Collection

from django.db import models

from faults import UserFault
from finetune.states import LIVE_LEASES


class TooManyLive(UserFault):
    status = 429
    retry_after: int  # seconds

    def __init__(self, code: str, message: str, *, fix: str, retry_after: int) -> None:
        super().__init__(code, message, fix=fix)
        self.retry_after = retry_after


def require_turn(
    kind: type[models.Model],
    most: int,
    *,
    code: str,
    said: str,
    retry_after: int,
    fix: str = "Wait until some of them are ready.",
    live: Collection[str] = LIVE_LEASES,
) -> None:
    """In the open scope; those who ask side by side are counted only where the caller has locked
    what they share. Raises TooManyLive where `most` rows of the kind are in a state of `live`.
    `retry_after`: seconds."""
    if kind._default_manager.filter(state__in=live).count() >= most:
        raise TooManyLive(code, said, fix=fix, retry_after=retry_after)
