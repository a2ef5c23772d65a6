"""The door of the operator's rooms, `/operator/`: staff, signed in like everybody, with a second
factor used in this session. There is no second sign-in form that could forget a limit."""

from typing import Any

from django.contrib.auth.views import redirect_to_login
from django.http import Http404, HttpRequest, HttpResponse
from django.shortcuts import redirect
from django.urls import reverse
from django.utils.http import url_has_allowed_host_and_scheme

from privatune.people import second_factor
from privatune.people.confinement import confined_to
from tenants.operator_site import ListedSite


class OperatorSite(ListedSite):
    def has_permission(self, request: HttpRequest) -> bool:
        admitted = super().has_permission(request) and second_factor.used(request)
        admitted = admitted and confined_to(request) is None
        if admitted:
            second_factor.arrived(request)
        return admitted

    def login(self, request: HttpRequest, extra_context: Any = None) -> HttpResponse:
        """Leads to what is still missing; takes no password itself."""
        if self.has_permission(request):
            return redirect(_next(request))
        if not request.user.is_authenticated:
            return redirect_to_login(_next(request))
        if not request.user.is_staff or confined_to(request) is not None:
            raise Http404
        return second_factor.lead(request, second_factor.for_operators(), back_to=_next(request))

    def password_change(  # type: ignore[override]
        self, request: HttpRequest, extra_context: Any = None
    ) -> HttpResponse:
        return redirect("account_change_password")


def _next(request: HttpRequest) -> str:
    """Where the person wanted to go inside the operator's rooms."""
    address = request.GET.get("next", "")
    home = reverse("admin:index")
    safe = url_has_allowed_host_and_scheme(address, allowed_hosts=None)
    return address if safe and address.startswith(home) else home
