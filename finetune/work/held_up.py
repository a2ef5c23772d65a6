"""What work waits for, of all tenants, in the columns that the operator's role may read: how much
waits for the same, and since when."""

from dataclasses import dataclass
from datetime import datetime
from typing import Any

from django.apps import apps
from django.db.models import Count, Min, QuerySet

from finetune.events import waits
from finetune.models.leased import Leased
from tenants.operator_site import readable


@dataclass(frozen=True)
class HeldUp:
    """`code`: of finetune/events/waits.py, or "" where an attempt failed; `reason` in English."""

    kind: str
    code: str
    reason: str
    count: int
    since: datetime  # the oldest of them was made


def held_up() -> list[HeldUp]:
    """The most first."""
    found = [
        HeldUp(
            kind=str(kind._meta.verbose_name),
            code=told.code if (told := waits.of_text(reason)) else "",
            reason=reason,
            count=count,
            since=since,
        )
        for kind in _kinds()
        for reason, count, since in by_reason(readable(kind), kind.States.WAITING)
    ]
    return sorted(found, key=lambda each: -each.count)


def by_reason(rows: QuerySet[Any], waiting: str) -> list[tuple[str, int, datetime]]:
    """(reason, rows, the oldest's age) of what is in the state `waiting` and says why."""
    told = rows.filter(state=waiting).exclude(wait_reason="")
    counted = told.order_by().values("wait_reason").annotate(rows=Count("id"))
    since = counted.annotate(since=Min("created_at"))
    return list(since.values_list("wait_reason", "rows", "since"))


def _kinds() -> list[Any]:
    """What operators may read of."""
    every = apps.get_app_config("finetune").get_models()
    return [each for each in every if issubclass(each, Leased) and hasattr(each, "operator_reads")]
