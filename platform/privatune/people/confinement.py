"""Sessions that were opened by one organisation's identity provider.

That provider speaks for its own organisation only. Whoever runs it can sign in as any member of
it, so such a session reaches that organisation's rooms and nothing else: not the person's other
organisations, not the account itself, not the operator's rooms.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.http import HttpRequest, HttpResponse
from django.shortcuts import render

_TENANT, _FACTOR = "confined_to", "provider_asked_second_factor"


def confine(request: HttpRequest, tenant_id: UUID, *, second_factor: bool) -> None:
    """`second_factor`: whether the provider says that it asked for one."""
    request.session[_TENANT] = str(tenant_id)
    request.session[_FACTOR] = second_factor


def confined_to(request: HttpRequest) -> UUID | None:
    """The only tenant that this session reaches; None for a session of the person's own."""
    tenant_id = request.session.get(_TENANT)
    return UUID(tenant_id) if tenant_id else None


def provider_asked_second_factor(request: HttpRequest) -> bool:
    return bool(request.session.get(_FACTOR))


def whole_session(view: Callable[..., Any]) -> Callable[..., Any]:
    """Decorates a view that is about the person and not about one organisation."""

    @wraps(view)
    def inside(request: HttpRequest, *args: Any, **kwargs: Any) -> HttpResponse:
        if confined_to(request) is not None:
            return render(request, "account/confined.html", status=403)
        response: HttpResponse = view(request, *args, **kwargs)
        return response

    return inside
