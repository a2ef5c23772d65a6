"""What an owner decides for the whole organisation."""

from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.utils.translation import gettext as _

from privatune.portal.access import RoomRequest, go, room
from tenants.errors import Refused
from tenants.roles import Role, Scope
from tenants.services.tenants import require_two_factor


@room(Scope.TENANT_READ)
def settings(request: RoomRequest) -> HttpResponse:
    role = request.belonging.role
    if request.method == "POST":
        required = request.POST.get("require_two_factor") == "1"
        try:
            require_two_factor(required=required, role=role, actor=request.principal.actor)
        except Refused as error:
            return render(request, "portal/refused.html", {"error": error}, status=403)
        messages.success(request, _("The settings were saved."))
        return go(request, "settings")
    return render(request, "portal/settings.html", {"may_change": role == Role.OWNER})
