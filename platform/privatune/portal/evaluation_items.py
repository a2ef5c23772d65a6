"""Questions and answers of an evaluation, a page at a time: all, or those that one looks for."""

from collections.abc import Callable, Mapping
from typing import Any

from django.http import QueryDict
from django.utils.translation import gettext_lazy as _

from finetune.models import Evaluation
from finetune.services.evaluations import reading
from tenants.access import Principal
from tenants.roles import Scope

PAGE = 20
MOST_PAGES = 10**6
ALL = "all"


def _is_wrong(item: Mapping[str, Any]) -> bool:
    return not item["sides"]["model"]["passed"]


def _differs(item: Mapping[str, Any]) -> bool:
    return len({bool(side["passed"]) for side in item["sides"].values()}) > 1


KEPT: dict[str, tuple[Any, Callable[[Mapping[str, Any]], bool]]] = {
    ALL: (_("all"), lambda _item: True),
    "wrong": (_("not right"), _is_wrong),
    "differ": (_("where the sides differ"), _differs),
}


def shown(evaluation: Evaluation, asked: QueryDict, by: Principal) -> dict[str, Any]:
    """`asked`: the address's `show`, one of KEPT, and `page`. Empty without answers, or for whoever
    may not read files."""
    if not evaluation.parts or Scope.FILES_READ not in by.scopes:
        return {}
    wanted = asked.get("show", ALL)
    wanted = wanted if wanted in KEPT else ALL
    page = _page(asked.get("page", ""))
    first = (page - 1) * PAGE
    if wanted == ALL:
        last = first + PAGE + 1
        found = reading.items_between(evaluation=evaluation, first=first, last=last, by=by)
    else:
        found = reading.items_where(
            evaluation=evaluation, keep=KEPT[wanted][1], skip=first, most=PAGE + 1, by=by
        )
    sides = found[0]["sides"] if found else (evaluation.report or {}).get("sides", {})
    offered = [code for code in KEPT if code != "differ" or len(sides) > 1]
    return {
        "items": found[:PAGE],
        "filters": [(code, KEPT[code][0], code == wanted) for code in offered],
        "show": wanted,
        "items_before": page - 1 if page > 1 else None,
        "items_after": page + 1 if len(found) > PAGE else None,
        "first": first + 1,
        "last": first + len(found[:PAGE]),
        "of": sum(part["rows"] for part in evaluation.parts) if wanted == ALL else None,
    }


def _page(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) < len(str(MOST_PAGES))):
        return 1
    return max(1, int(text))
