"""Keys: a member's own, and to whoever may, everybody's. A secret is shown once."""

from datetime import UTC, date, datetime, time, timedelta
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
from tenants.dates import last_day
from tenants.errors import Invalid
from tenants.models import ApiKey
from tenants.roles import SERVICE_KEY_MAKERS, SERVICE_ROLE, Role, Scope, may_touch
from tenants.services.key_changes import MOST_NAME, change_key
from tenants.services.keys import make_key, revoke_key, rotate_key

DAYS = (30, 90, 365)
SELDOM = {Scope.TENANT_WRITE, Scope.MODELS_WRITE}  # what few programs need, and cannot be undone


@never_cache
@room(Scope.TENANT_READ)
def index(request: RoomRequest) -> HttpResponse:
    return acted(request, page=_page, act=_act, keeps=("make", "change"))


def _act(request: RoomRequest) -> HttpResponse:
    """Raises Fault."""
    by = request.principal
    match request.POST.get("do"):
        case "make":
            key, secret = _make(request)
            return _page(request, made=key, secret=secret)
        case "rotate":
            key, secret = rotate_key(by=by, key_id=posted_id(request, "key"))
            return _page(request, made=key, secret=secret)
        case "change":
            _change(request)
            messages.success(request, _("The key was changed."))
        case "revoke":
            _key, ended = revoke_key(by=by, key_id=posted_id(request, "key"))
            messages.success(request, _("The key was revoked."))
            if ended:
                told = _("Keys that it had made ended with it: %(count)d.")
                messages.success(request, told % {"count": len(ended)})
    return go(request, "keys")


def _make(request: RoomRequest) -> tuple[ApiKey, str]:
    posted = request.POST
    name = posted.get("name", "").strip()[:MOST_NAME]
    if not name:
        raise Invalid("name_missing", "Say what the key is for.", param="name")
    days = posted.get("days", "")
    known = {str(each): each for each in DAYS}
    return make_key(
        by=request.principal,
        name=name,
        scopes=posted.getlist("scopes"),
        expires_at=timezone.now() + timedelta(days=known[days]) if days in known else None,
        allowed_addresses=_networks(posted),
        service=posted.get("service") == "1",
    )


def _change(request: RoomRequest) -> None:
    """Raises Fault."""
    posted, key_id = request.POST, posted_id(request, "key")
    key = ApiKey.objects.filter(id=key_id).first()
    change_key(
        by=request.principal,
        key_id=key_id,
        changes={
            "name": posted.get("name", ""),
            "expires_at": _end_of_day(posted.get("expires", ""), key.expires_at if key else None),
            "allowed_addresses": _networks(posted),
        },
    )


def _end_of_day(typed: str, now_set: datetime | None) -> datetime | None:
    """The last second of the day, in UTC; the very moment that is set while its day stays. Empty:
    no end. Raises Invalid."""
    if not typed:
        return None
    try:
        day = date.fromisoformat(typed)
    except ValueError:
        raise Invalid(
            "invalid_expiry", _("Write the day as 2030-12-31."), param="expires"
        ) from None
    if now_set is not None and last_day(now_set) == day:
        return now_set
    return datetime.combine(day, time(23, 59, 59), UTC)


def _networks(posted: QueryDict) -> list[str]:
    return posted.get("allowed_addresses", "").replace(",", " ").split()


def _page(
    request: RoomRequest, *, typed: QueryDict | None = None, status: int = 200, **more: Any
) -> HttpResponse:
    by = request.principal
    found = ApiKey.objects.select_related("created_by__user", "made_with").order_by("-created_at")
    making = typed if typed and typed.get("do") == "make" else None
    ticked = set(making.getlist("scopes")) if making else by.scopes - SELDOM
    rows = [_shown(request, key) for key in found]
    context = {
        "rows": rows,
        "changing": _changing(request, rows, typed),
        "most_name": MOST_NAME,
        "scopes": [
            {"code": scope, "name": SCOPE_NAMES[Scope(scope)], "on": scope in ticked}
            for scope in sorted(by.scopes)
        ],
        "days": DAYS,
        "may_serve": by.role in SERVICE_KEY_MAKERS,
        "typed": making,
        **more,
    }
    return render(request, "portal/keys.html", context, status=status)


def _changing(
    request: RoomRequest, rows: list[dict[str, Any]], typed: QueryDict | None
) -> dict[str, Any] | None:
    """The form of the key whose `Change` was pressed, with what was typed into it if any."""
    if typed is not None and typed.get("do") == "change":
        wanted: Any = typed
    else:
        wanted = {"id": request.GET.get("change", "")}
    row = next((each for each in rows if str(each["key"].id) == wanted.get("id")), None)
    if row is None or not row["may_change"]:
        return None
    key = row["key"]
    expires = last_day(key.expires_at).isoformat() if key.expires_at else ""
    return {
        "key": key,
        "name": wanted.get("name", key.name),
        "expires": wanted.get("expires", expires),
        "networks": wanted.get("allowed_addresses", ", ".join(key.allowed_addresses)),
    }


def _shown(request: RoomRequest, key: ApiKey) -> dict[str, Any]:
    by, now = request.principal, timezone.now()
    own = key.created_by_id is not None and key.created_by_id == by.membership_id
    role = Role(key.created_by.role) if key.created_by else SERVICE_ROLE
    expired = key.expires_at is not None and key.expires_at <= now
    alive = key.revoked_at is None and not expired
    touched = own or may_touch(by.role, by.scopes, role)
    return {
        "key": key,
        "scopes": [{"code": each, "name": SCOPE_NAMES[Scope(each)]} for each in key.scopes],
        "expired": expired,
        "rotating": alive and key.previous_until is not None and key.previous_until > now,
        "may_rotate": alive and (own or (key.service and by.role in SERVICE_KEY_MAKERS)),
        "may_change": alive and touched,
        "may_revoke": alive and touched,
    }
