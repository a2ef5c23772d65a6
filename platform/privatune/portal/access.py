"""What every room of the portal has in common: a signed-in person, one tenant, its scope open."""

from collections.abc import Callable
from functools import wraps
from typing import Any
from uuid import UUID

from django.contrib.auth.decorators import login_required
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect, render
from django.views.decorators.http import require_POST

from tenants.access import Belonging, Principal, belongings_of
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.roles import Scope

_SESSION_KEY = "tenant"


class RoomRequest(HttpRequest):
    """A request inside a room: `belonging` is the tenant being looked at."""

    belonging: Belonging
    belongings: list[Belonging]
    principal: Principal


def enter(request: HttpRequest) -> bool:
    """Finds the person's tenant and puts it on the request; False when there is none."""
    user: Any = request.user
    belongings = belongings_of(user.pk)
    chosen = request.session.get(_SESSION_KEY)
    current = next((b for b in belongings if str(b.tenant_id) == chosen), None)
    if current is None and not belongings:
        return False
    request.belongings = belongings  # type: ignore[attr-defined]
    request.belonging = current or belongings[0]  # type: ignore[attr-defined]
    request.principal = request.belonging.principal(user.email)  # type: ignore[attr-defined]
    return True


def room(scope: Scope, *, own_scope: bool = False) -> Callable[[Callable[..., Any]], Any]:
    """Decorates a view: sign-in, membership, the role's scope, then the tenant's database scope.

    `own_scope`: the view streams and opens scopes itself, for short pieces.
    """

    def decorate(view: Callable[..., Any]) -> Any:
        @login_required
        @wraps(view)
        def inside(request: RoomRequest, *args: Any, **kwargs: Any) -> Any:
            if not enter(request):
                return render(request, "portal/no_tenant.html", status=403)
            try:
                request.principal.require(scope)
            except Refused as error:
                return render(request, "portal/refused.html", {"error": error}, status=403)
            if own_scope:
                return view(request, *args, **kwargs)
            with tenant_scope(request.belonging.tenant_id):
                response = view(request, *args, **kwargs)
                # Rendered inside the scope: a lazy queryset in a template must find it open.
                if hasattr(response, "render"):
                    response.render()
                return response

        return inside

    return decorate


@require_POST
@login_required
def switch_tenant(request: HttpRequest) -> HttpResponse:
    """Another of the person's own tenants; any other id is as unknown as a wrong one."""
    user: Any = request.user
    try:
        wanted = UUID(request.POST.get("tenant", ""))
    except ValueError:
        raise Http404 from None
    if wanted not in {b.tenant_id for b in belongings_of(user.pk)}:
        raise Http404
    request.session[_SESSION_KEY] = str(wanted)
    return redirect("portal:home")
