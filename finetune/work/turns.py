"""How many works of a kind a tenant may have that have not ended: each takes workers' time, and
nothing else bounds what is asked for."""

from collections.abc import Collection

from django.db import models

from faults import UserFault
from finetune.states import LIVE_LEASES


class TooManyLive(UserFault):
    status = 429
    retry_after = 30  # seconds


def require_turn(
    kind: type[models.Model],
    most: int,
    *,
    code: str,
    said: str,
    fix: str = "Wait until some of them are ready.",
    live: Collection[str] = LIVE_LEASES,
) -> None:
    """In the open scope; those who ask side by side are counted only where the caller has locked
    what they share. Raises TooManyLive where `most` rows of the kind are in a state of `live`."""
    if kind._default_manager.filter(state__in=live).count() >= most:
        raise TooManyLive(code, said, fix=fix)
