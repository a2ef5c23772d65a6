"""Pages of our own API: `after`, `limit`, `order`, as on the wire, and their description."""

from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from django.db.models import QuerySet
from drf_spectacular.utils import OpenApiParameter, extend_schema, inline_serializer
from rest_framework import serializers
from rest_framework.request import Request

from finetune.api.paging import Paging

Method = TypeVar("Method", bound=Callable[..., Any])

PAGING = Paging(ordered=True)
PARAMETERS = [
    OpenApiParameter("after", str, description="Id of the last row of the page before."),
    OpenApiParameter(
        "limit",
        {"type": "integer", "minimum": 1, "maximum": PAGING.most, "default": PAGING.limit},
        description="Rows on a page.",
    ),
    OpenApiParameter("order", str, enum=["asc", "desc"], description="By time; default desc."),
]


def paged(
    serializer: type[serializers.Serializer[Any]],
    request: Request,
    rows: QuerySet[Any],
    *,
    by: str = "created_at",
    context: Callable[[Sequence[Any]], dict[str, Any]] = lambda rows: {},
) -> dict[str, Any]:
    """`context`: what the serializer needs besides, made from the rows of the page."""
    found = PAGING.page(PAGING.read(request._request), rows, by=by)
    made = serializer(found.rows, many=True, context=context(found.rows))
    return {"data": made.data, "has_more": found.has_more}


def page_schema(
    serializer: type[serializers.Serializer[Any]], summary: str
) -> Callable[[Method], Method]:
    """Describes a GET that answers a page of `serializer`."""
    name = serializer.__name__.removesuffix("Serializer")
    shape = inline_serializer(
        f"{name}Page",
        {"data": serializer(many=True), "has_more": serializers.BooleanField()},
    )
    return extend_schema(
        operation_id=f"{name.lower()}_list",
        parameters=PARAMETERS,
        responses=shape,
        summary=summary,
    )
