"""Who may send a body: asked of the database before the body is read. Runs in a thread."""

import time
from dataclasses import dataclass
from importlib import import_module
from io import BytesIO
from typing import Any

from django.conf import settings
from django.contrib.auth import get_user
from django.core.handlers.asgi import ASGIRequest
from django.db import close_old_connections

from finetune.api.explaining import refusal_of
from finetune.api.identity import EDGE, Caller, Known, identify
from finetune.api.problems import Refusal
from privatune.edge.refusals import SECOND_FACTOR, SIGN_IN
from privatune.edge.routes import SMALL, Place
from privatune.portal.access import enter, factor_missing
from tenants.errors import Refused
from tenants.roles import Scope

SessionStore = import_module(settings.SESSION_ENGINE).SessionStore


@dataclass(frozen=True)
class Found:
    """Whose body it is. `caller` None: a person in the portal. `refusal`: what a known caller is
    told once the request has been counted."""

    tenant: str
    caller: Caller | None = None
    refusal: Refusal | None = None


def admit(scope: dict[str, Any], place: Place) -> Found:
    """Raises Refusal: 401 without good credentials, 403 without the right."""
    try:
        if place.scope is None:
            return Found(_admit_member(scope, place.slug or ""))
        return _admit_key(scope, place.scope)
    except Refusal:
        raise
    except Exception as error:
        raise refusal_of(error) from error
    finally:
        if place.limit > SMALL:
            close_old_connections()  # the body may take minutes to come


def _admit_key(scope: dict[str, Any], needed: Scope) -> Found:
    """The caller with that key, kept for the view."""
    caller = identify(ASGIRequest(scope, BytesIO()))
    tenant = str(caller.principal.tenant_id)
    try:
        caller.principal.require(needed)
    except Refused as error:
        return Found(tenant, caller, refusal_of(error))
    scope[EDGE] = Known(caller, time.monotonic())
    return Found(tenant, caller)


def _admit_member(scope: dict[str, Any], slug: str) -> str:
    """The tenant whose room it is, for somebody signed in who may put files there."""
    request: Any = ASGIRequest(scope, BytesIO())
    request.session = SessionStore(request.COOKIES.get(settings.SESSION_COOKIE_NAME))
    request.user = get_user(request)
    if not request.user.is_authenticated:
        raise Refusal(SIGN_IN)
    enter(request, slug)
    if factor_missing(request):
        raise Refusal(SECOND_FACTOR)
    request.principal.require(Scope.FILES_WRITE)
    return str(request.belonging.tenant_id)
