"""What a page that watches something needs: a counted slot, and a look every second that asks again
whether the person may still look, and holds a database connection only for that moment."""

import asyncio
from collections.abc import AsyncIterator, Callable
from importlib import import_module
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.contrib.auth import get_user
from django.http import HttpRequest, StreamingHttpResponse

from privatune.edge.held import hold
from privatune.edge.slots import Slot, Slots
from privatune.portal.access import RoomRequest, still_allowed
from tenants.database.scope import release_connection, tenant_scope
from tenants.errors import Refused
from tenants.limits import share
from tenants.roles import Scope

SECONDS = 1.0
SLOTS = Slots(
    each_person=share(settings.PERSON_STREAMS), each_tenant=share(settings.TENANT_STREAMS)
)

# What one look saw, as lines to send, and whether it was the last.
Look = Callable[[], tuple[str, bool]]


def watch(request: RoomRequest, scope: Scope, look: Look) -> StreamingHttpResponse:
    """Server-sent events of `look`, which runs in the tenant's scope. Raises TooManyStreams."""
    tenant_id = request.belonging.tenant_id

    def glance() -> tuple[str, bool]:
        try:
            if not may_look(request, scope):
                return "", True
            with tenant_scope(tenant_id):
                return look()
        finally:
            release_connection()

    slot = SLOTS.enter(person=str(request.user.pk), tenant=str(tenant_id))
    hold(request, slot.leave)
    answer = StreamingHttpResponse(
        _events(glance, slot), content_type="text/event-stream; charset=utf-8"
    )
    answer["Cache-Control"] = "no-store"
    answer["X-Accel-Buffering"] = "no"
    return answer


def may_look(request: RoomRequest, scope: Scope) -> bool:
    """Whether the session still lives, and its person still has the right."""
    anew: Any = HttpRequest()
    anew.session = import_module(settings.SESSION_ENGINE).SessionStore(request.session.session_key)
    if get_user(anew).pk != request.user.pk:
        return False
    try:
        still_allowed(request, scope)
    except Refused:
        return False
    return True


async def _events(glance: Look, slot: Slot) -> AsyncIterator[str]:
    try:
        while True:
            lines, last = await sync_to_async(glance)()
            if lines:
                yield lines
            if last:
                return
            await asyncio.sleep(SECONDS)
            yield ": still here\n\n"  # a proxy must not think the connection dead
    finally:
        slot.leave()
