"""A page of rows as OpenAI's list object."""

from collections.abc import Callable
from datetime import datetime
from typing import Any

from django.db.models import Model

from finetune.selectors import Page


def listing(page: Page[Any], show: Callable[[Any], dict[str, Any]]) -> dict[str, Any]:
    data = [show(row) for row in page.rows]
    return {
        "object": "list",
        "data": data,
        "first_id": data[0]["id"] if data else None,
        "last_id": data[-1]["id"] if data else None,
        "has_more": page.has_more,
    }


def seconds(moment: datetime | None) -> int | None:
    """Unix time, as the wire tells it."""
    return int(moment.timestamp()) if moment is not None else None


def created(row: Model) -> int:
    moment: datetime = row.created_at  # type: ignore[attr-defined]
    return int(moment.timestamp())
