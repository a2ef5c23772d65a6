"""Keys: a member's own, and to whoever may, everybody's. A secret is shown once."""

from datetime import timedelta
from typing import Any

from django.contrib import messages
from django.http import HttpResponse, QueryDict
from django.shortcuts import render
from django.utils import timezone
from django.utils.translation import gettext as _
from django.views.decorators.cache import never_cache

from privatune.portal.access import RoomRequest, go, room
from privatune.portal.acts import acted, posted_id
from privatune.portal.words import SCOPE_NAMES
from tenants.errors import Invalid
from tenants.models import ApiKey
from tenants.roles import SERVICE_KEY_MAKERS, SERVICE_ROLE, Role, Scope, may_touch
from tenants.services.keys import make_key, revoke_key, rotate_key

DAYS = (30, 90, 365)


@never_cache
@room(Scope.TENANT_READ)
def index(request: RoomRequest) -> HttpResponse:
    return acted(request, page=_page, act=_act, keeps="make")


def _act(request: RoomRequest) -> HttpResponse:
    """Raises TenantError."""
    by = request.principal
    match request.POST.get("do"):
        case "make":
            key, secret = _make(request)
            return _page(request, made=key, secret=secret)
        case "rotate":
            key, secret = rotate_key(by=by, key_id=posted_id(request, "key"))
            return _page(request, made=key, secret=secret)
        case "revoke":
            revoke_key(by=by, key_id=posted_id(request, "key"))
            messages.success(request, _("The key was revoked."))
    return go(request, "keys")


def _make(request: RoomRequest) -> tuple[ApiKey, str]:
    posted = request.POST
    name = posted.get("name", "").strip()[:80]
    if not name:
        raise Invalid("name_missing", "Say what the key is for.", param="name")
    days = posted.get("days", "")
    known = {str(each): each for each in DAYS}
    return make_key(
        by=request.principal,
        name=name,
        scopes=posted.getlist("scopes"),
        expires_at=timezone.now() + timedelta(days=known[days]) if days in known else None,
        allowed_addresses=posted.get("allowed_addresses", "").replace(",", " ").split(),
        service=posted.get("service") == "1",
    )


def _page(
    request: RoomRequest, *, typed: QueryDict | None = None, status: int = 200, **more: Any
) -> HttpResponse:
    by = request.principal
    found = ApiKey.objects.select_related("created_by__user").order_by("-created_at")
    ticked = set(typed.getlist("scopes")) if typed else by.scopes - {Scope.TENANT_WRITE}
    context = {
        "rows": [_shown(request, key) for key in found],
        "scopes": [
            {"code": scope, "name": SCOPE_NAMES[Scope(scope)], "on": scope in ticked}
            for scope in sorted(by.scopes)
        ],
        "days": DAYS,
        "may_serve": by.role in SERVICE_KEY_MAKERS,
        "typed": typed,
        **more,
    }
    return render(request, "portal/keys.html", context, status=status)


def _shown(request: RoomRequest, key: ApiKey) -> dict[str, Any]:
    by, now = request.principal, timezone.now()
    own = key.created_by_id is not None and key.created_by_id == by.membership_id
    role = Role(key.created_by.role) if key.created_by else SERVICE_ROLE
    expired = key.expires_at is not None and key.expires_at <= now
    alive = key.revoked_at is None and not expired
    return {
        "key": key,
        "expired": expired,
        "rotating": alive and key.previous_until is not None and key.previous_until > now,
        "may_rotate": alive and (own or (key.service and by.role in SERVICE_KEY_MAKERS)),
        "may_revoke": alive and (own or may_touch(by.role, by.scopes, role)),
    }
