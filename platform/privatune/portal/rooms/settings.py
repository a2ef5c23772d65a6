"""What an owner decides for the whole organisation, and what the operator lets it use."""

import re
from typing import Any

from django.conf import settings as server
from django.contrib import messages
from django.http import HttpResponse
from django.shortcuts import render
from django.urls import reverse
from django.utils.translation import gettext as _

from finetune.services.files.room import storage
from privatune import problem_pages
from privatune.portal.access import RoomRequest, go, room
from privatune.portal.refusals import said
from privatune.portal.words import STORAGE_KINDS
from tenants.database.scope import current_tenant_id
from tenants.errors import Invalid, Refused
from tenants.limits import limits_of
from tenants.models import SignInProvider, Tenant
from tenants.roles import Role, Scope
from tenants.services.sign_in import remove_provider, set_provider
from tenants.services.support import grant_support, revoke_support, standing_consent
from tenants.services.tenants import require_two_factor


@room(Scope.TENANT_READ)
def settings(request: RoomRequest) -> HttpResponse:
    context: dict[str, Any] = {}
    if request.method == "POST":
        try:
            _change(request)
        except Refused as error:
            return problem_pages.refused(request, error)
        except Invalid as error:
            supporting = request.POST.get("do") == "support"
            context = {"support_error" if supporting else "provider_error": said(error)}
        else:
            messages.success(request, _("The settings were saved."))
            return go(request, "settings")
    callback = reverse("account_oidc_callback", args=(request.belonging.slug,))
    context |= {
        "may_change": request.belonging.role == Role.OWNER,
        "offered": bool(server.OIDC_HOSTS),
        "consent": standing_consent(),
        "provider": SignInProvider.objects.first(),
        "redirect": request.build_absolute_uri(callback),
        **_allowance(),
    }
    failed = "provider_error" in context or "support_error" in context
    return render(request, "portal/settings.html", context, status=400 if failed else 200)


def _allowance() -> dict[str, Any]:
    stored = storage()
    kinds = [(STORAGE_KINDS[kind], size) for kind, size in stored.by_kind.items()]
    return {
        "storage": stored,
        "kinds": kinds,
        "percent": min(100, round(100 * stored.used / stored.limit)),
        "limits": limits_of(Tenant.objects.get(id=current_tenant_id())),
    }


def _change(request: RoomRequest) -> None:
    """Raises Refused and Invalid."""
    who: dict[str, Any] = {"role": request.belonging.role, "actor": request.principal.actor}
    match request.POST.get("do"):
        case "support":
            hours = request.POST.get("hours", "")
            grant_support(
                by=request.principal,
                hours=int(hours) if re.fullmatch("[0-9]{1,4}", hours) else 0,
                reason=request.POST.get("reason", ""),
            )
        case "end-support":
            revoke_support(by=request.principal)
        case "provider":
            set_provider(
                issuer=request.POST.get("issuer", ""),
                client_id=request.POST.get("client_id", ""),
                secret=request.POST.get("client_secret", ""),
                **who,
            )
        case "remove-provider":
            remove_provider(**who)
        case _:
            require_two_factor(required=request.POST.get("require_two_factor") == "1", **who)
