"""The pages of both faces: a query string in, typed rows out."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from django.db.models import QuerySet
from django.http import HttpRequest

from faults import UserFault
from finetune import selectors
from finetune.api.bodies import query
from finetune.selectors import Cut, Page
from tenants.models import TenantOwned

Row = TypeVar("Row", bound=TenantOwned)

DIGITS = 20  # of a number in a query; Python itself refuses to read some thousands


@dataclass(frozen=True)
class Paging:
    """How a list is cut: rows on a page when nothing is said and at most, whether `order` is taken,
    and which filters besides."""

    limit: int = 20
    most: int = 100
    ordered: bool = False
    filters: frozenset[str] = frozenset()

    def read(self, request: HttpRequest) -> dict[str, str]:
        """The query's parameters. Raises UserFault for one that the list does not take."""
        order = {"order"} if self.ordered else set()
        return query(request, frozenset({"after", "limit"} | order | self.filters))

    def page(
        self, asked: Mapping[str, str], rows: QuerySet[Row], *, by: str = "created_at"
    ) -> Page[Row]:
        """Raises UserFault naming the parameter at fault, NotFound for an unknown `after`."""
        return selectors.page(rows, self._cut(asked), by=by)

    def _cut(self, asked: Mapping[str, str]) -> Cut:
        text = asked.get("limit", str(self.limit))
        count = whole_number(text, "limit", least=1, most=self.most)
        order = asked.get("order", "desc")
        if order not in ("asc", "desc"):
            raise UserFault("invalid_value", "`order` must be `asc` or `desc`.", param="order")
        return Cut(asked.get("after"), count, order == "desc")


def whole_number(text: str, name: str, *, least: int, most: int) -> int:
    """A whole number of a query or header. Raises UserFault naming it."""
    number = int(text) if text.isascii() and text.isdecimal() and len(text) <= DIGITS else -1
    if not least <= number <= most:
        raise UserFault(
            "invalid_value",
            f"`{name}` must be a whole number from {least} to {most}.",
            param=name,
        )
    return number


def read_metadata(asked: Mapping[str, str]) -> dict[str, str] | None:
    """The filter in `metadata[k]=v`; `metadata=null` is None. Raises UserFault for both at once."""
    wanted: dict[str, Any] = {}
    for name, value in asked.items():
        if name.startswith("metadata[") and name.endswith("]"):
            wanted[name[9:-1]] = value
    if "metadata" not in asked:
        return wanted
    if asked["metadata"] != "null" or wanted:
        raise UserFault(
            "invalid_value",
            "Filter by `metadata[key]=value`, or by `metadata=null`, not by both.",
            param="metadata",
        )
    return None
