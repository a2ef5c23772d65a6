"""Rooms whose page carries several forms, told apart by their field `do`."""

from collections.abc import Callable
from uuid import UUID

from django.db import transaction
from django.http import HttpResponse

from faults import Fault
from privatune.portal.access import RoomRequest
from privatune.portal.refusals import said
from tenants.errors import NotFound


def acted(
    request: RoomRequest,
    *,
    page: Callable[..., HttpResponse],
    act: Callable[[RoomRequest], HttpResponse],
    keeps: tuple[str, ...],
) -> HttpResponse:
    """`page(request)`, or what `act` answers to a posted form. A Fault of `act` undoes what
    it wrote and shows the page again, saying why, with what was typed into a form of `keeps`."""
    if request.method != "POST":
        return page(request)
    try:
        with transaction.atomic():
            return act(request)
    except Fault as error:
        typed = request.POST if request.POST.get("do") in keeps else None
        return page(request, error=error, said=said(error), typed=typed, status=error.status)


def posted_id(request: RoomRequest, noun: str) -> UUID:
    """The field `id`. Raises NotFound."""
    try:
        return UUID(request.POST.get("id", ""))
    except ValueError:
        raise NotFound(f"{noun}_not_found", f"No such {noun}.") from None
