"""What every room of the portal has in common: a signed-in person, one tenant, its scope open.

The tenant stands in the address, `/t/<slug>/...`, and nowhere else: being added to another tenant
changes nothing of what an open page does.
"""

from collections.abc import Callable
from functools import wraps
from typing import Any

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.urls import reverse
from django.utils import timezone

from privatune import problem_pages
from privatune.people import second_factor
from privatune.people.confinement import confined_to, provider_asked_second_factor
from privatune.portal.zones import zone_of
from tenants.access import Belonging, Principal, belongings_of, require_living
from tenants.addresses import client_address
from tenants.database.locks import lock
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.roles import Scope
from tenants.services.audit import record

_ENTERED = "entered"  # in the session: the tenants whose log shows it already


class RoomRequest(HttpRequest):
    """A request inside a room: `belonging` is the tenant being looked at."""

    belonging: Belonging
    belongings: list[Belonging]
    principal: Principal


def enter(request: HttpRequest, slug: str) -> None:
    """Puts the tenant of that slug on the request. Raises Http404 when there is none, and the same
    when the person does not belong to it."""
    user: Any = request.user
    belongings = _reachable(request)
    current = next((each for each in belongings if each.slug == slug), None)
    if current is None:
        raise Http404
    request.belongings = belongings  # type: ignore[attr-defined]
    request.belonging = current  # type: ignore[attr-defined]
    principal = current.principal(user.email).at(client_address(request))
    request.principal = principal  # type: ignore[attr-defined]


def room(scope: Scope, *, own_scope: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a view under `/t/<slug>/`: sign-in, membership, the second factor if the tenant
    requires one, the role's scope, then the tenant's database scope. The view does not get the
    slug: the request knows the tenant.

    `own_scope`: the view streams and opens scopes itself, for short pieces.
    """

    def decorate(view: Callable[..., Any]) -> Any:
        @login_required
        @wraps(view)
        def inside(request: RoomRequest, slug: str, *args: Any, **kwargs: Any) -> Any:
            enter(request, slug)
            if factor_missing(request):
                return _led_away(request)
            if request.belonging.require_two_factor:
                second_factor.arrived(request)
            _note_entry(request)
            try:
                with tenant_scope(request.belonging.tenant_id):
                    require_living(request.belonging.tenant_id)
                request.principal.require(scope)
            except Refused as error:
                return problem_pages.refused(request, error)
            if own_scope:
                return view(request, *args, **kwargs)
            with tenant_scope(request.belonging.tenant_id), timezone.override(zone_of(request)):
                response = view(request, *args, **kwargs)
                # Rendered inside the scope: a lazy queryset in a template must find it open.
                if hasattr(response, "render"):
                    response.render()
                return response

        return inside

    return decorate


def still_allowed(request: RoomRequest, scope: Scope) -> None:
    """For answers that go on for long: reads the person's membership anew, and the second factor.

    Raises Refused once it has ended, or no longer has the scope, or a factor is now needed.
    """
    user: Any = request.user
    tenant_id = request.belonging.tenant_id
    now = next((each for each in belongings_of(user.pk) if each.tenant_id == tenant_id), None)
    if now is None:
        raise Refused("membership_ended", "You no longer belong to this organisation.")
    if now.require_two_factor and not _factor_used(request):
        raise Refused("second_factor_needed", "This organisation requires a second factor.")
    with tenant_scope(tenant_id):
        require_living(tenant_id)
    now.principal(user.email).require(scope)


def _note_entry(request: RoomRequest) -> None:
    """Once a session and organisation: its log shows who came in, from where and how."""
    tenant_id = request.belonging.tenant_id
    if str(tenant_id) in request.session.get(_ENTERED, []):
        return
    how = {
        "by": "oidc" if confined_to(request) else "password",
        "second_factor": _factor_used(request),
    }
    with tenant_scope(tenant_id):
        # A browser opens several pages at once: what the session says now is asked of the database,
        # one request after the other.
        lock(f"session.enter:{request.session.session_key}")
        kept = type(request.session)(request.session.session_key)
        entered = kept.get(_ENTERED, [])
        if str(tenant_id) not in entered:
            entered = [*entered, str(tenant_id)]
            record(actor=request.principal.actor, action="session.enter", data=how)
            if kept.session_key is not None:  # else it was ended meanwhile
                kept[_ENTERED] = entered
                kept.save()
    request.session[_ENTERED] = entered


def _reachable(request: HttpRequest) -> list[Belonging]:
    """The person's tenants, as far as this session reaches."""
    user: Any = request.user
    only = confined_to(request)
    return [each for each in belongings_of(user.pk) if only in (None, each.tenant_id)]


def factor_missing(request: HttpRequest) -> bool:
    """Whether the entered tenant requires a second factor that this session has not used."""
    belonging: Belonging = request.belonging  # type: ignore[attr-defined]
    return belonging.require_two_factor and not _factor_used(request)


def _factor_used(request: HttpRequest) -> bool:
    if confined_to(request) is not None:
        return provider_asked_second_factor(request)
    return second_factor.used(request)


def _led_away(request: RoomRequest) -> HttpResponse:
    """Here and not in the pages, so that no room can forget it."""
    if confined_to(request) is not None:
        error = Refused(
            "provider_asked_no_factor",
            "This organisation requires a second factor, and its provider did not ask for one.",
            fix="Ask whoever runs the provider, or sign in with your password.",
        )
        return problem_pages.refused(request, error)
    back_to = request.get_full_path() if request.method == "GET" else address_of(request, "home")
    return second_factor.lead(request, second_factor.for_tenant(), back_to=back_to)


def address_of(request: HttpRequest, name: str, *args: Any) -> str:
    """The address of the room of that name, in the tenant of the request."""
    belonging: Belonging = request.belonging  # type: ignore[attr-defined]
    return reverse(f"portal:{name}", args=(belonging.slug, *args))


def go(request: HttpRequest, name: str, *args: Any) -> HttpResponse:
    """A redirect to a room of the same tenant."""
    return redirect(address_of(request, name, *args))


@login_required
def organisations(request: HttpRequest) -> HttpResponse:
    """The person's organisations to choose from; with exactly one there is nothing to choose."""
    belongings = _reachable(request)
    if not belongings:
        return render(request, "portal/no_tenant.html", status=403)
    if len(belongings) == 1:
        return redirect("portal:home", belongings[0].slug)
    return render(request, "portal/organisations.html", {"belongings": belongings})
