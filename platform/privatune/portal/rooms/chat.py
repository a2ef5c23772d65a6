"""Asks a model or its base one question and streams the answer: for trying, not for work."""

import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any
from uuid import UUID

from django.http import HttpResponse, StreamingHttpResponse
from django.http.response import HttpResponseBase
from django.shortcuts import get_object_or_404
from django.utils.translation import get_language, override
from django.utils.translation import gettext as _
from django.views.decorators.http import require_POST

from faults import Fault
from finetune import selectors
from finetune.services.models import gateway
from privatune.portal.access import RoomRequest, room
from privatune.portal.refusals import said
from privatune.portal.watching import may_look
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.roles import Scope

LONGEST_ANSWER = 256  # tokens
LONGEST_PROMPT = 4000  # characters, as the page says


@require_POST
@room(Scope.INFER, own_scope=True)
def chat(request: RoomRequest, artifact_id: UUID) -> HttpResponseBase:
    """`which` = base or tuned, `prompt`, `system`. As it comes, a JSON object a line with what is
    new: `text`, `reasoning` before it, or why there is no more, `error`."""
    prompt = request.POST.get("prompt", "").strip()
    if not prompt or len(prompt) > LONGEST_PROMPT:
        return _plain(_("Ask something, in at most 4000 characters."), 400)
    with tenant_scope(request.belonging.tenant_id):
        artifact = get_object_or_404(selectors.artifacts(), id=artifact_id)
        name = artifact.base.name if request.POST.get("which") == "base" else artifact.model_name
        try:
            target = gateway.resolve(name=name)
        except Fault as error:
            return _plain(said(error), error.status)
    system = request.POST.get("system", "").strip()
    messages = [{"role": "system", "content": system}] if system else []
    messages.append({"role": "user", "content": prompt})
    answer = _answer(request, target, messages, str(get_language()))
    return StreamingHttpResponse(answer, content_type="application/jsonl; charset=utf-8")


async def _answer(
    request: RoomRequest,
    target: gateway.Target,
    messages: list[dict[str, Any]],
    language: str,
) -> AsyncIterator[str]:
    def still() -> None:
        if not may_look(request, Scope.INFER):
            raise Refused("access_ended", "You are signed out, or may no longer ask this model.")

    generation = {"messages": messages, "temperature": 0.0, "max_tokens": LONGEST_ANSWER}
    try:
        reserved = await gateway.reserve(
            target=target, generations=[generation], by=request.principal
        )
        deltas = gateway.generate(
            target=target,
            generation=generation,
            reserved=reserved,
            by=request.principal,
            still=still,
        )
        async with aclosing(deltas):
            async for delta in deltas:
                if news := _news(text=delta.text, reasoning=delta.reasoning):
                    yield news
    except Fault as error:
        # The status line is sent already: what went wrong is said where the answer would stand.
        with override(language):
            told = said(error)
        yield _news(error=told)


def _news(**parts: str) -> str:
    """A line of what there is; empty where there is nothing."""
    there = {name: text for name, text in parts.items() if text}
    return json.dumps(there, ensure_ascii=False) + "\n" if there else ""


def _plain(text: str, status: int) -> HttpResponse:
    return HttpResponse(text, status=status, content_type="text/plain; charset=utf-8")
