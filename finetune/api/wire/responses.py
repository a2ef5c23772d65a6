"""/v1/responses, whole or streamed: a chat in OpenAI's newer words. Nothing is kept of it."""

from typing import Any
from uuid import uuid4

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from finetune.api.bodies import parse
from finetune.api.wire.event_streams import Dialect
from finetune.api.wire.generating import GeneratingView, Opening, stream_reply, whole_reply
from finetune.api.wire.response_events import Telling, event_line
from finetune.api.wire.response_request import ResponseRequest
from finetune.api.wire.sampling import now


class Responses(GeneratingView):
    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(ResponseRequest, request)
        chat = asked.chat()
        target = await self.resolve(asked.model)
        opening = Opening(self, target, [chat.generation()])
        telling = Telling(blank(asked, target.model), logprobs=asked.logprobs)
        with asked.own_names():
            if asked.stream:
                dialect = Dialect(line=event_line, end=b"", error=telling.error)
                return await stream_reply(opening, telling.events, dialect)
            async for _ in telling.events(await opening.deltas()):
                pass
            return whole_reply(telling.response, opening)


def blank(asked: ResponseRequest, model: str) -> dict[str, Any]:
    """The response before anything is written: what was asked, with what is so when nothing was."""
    form = asked.text.format if asked.text is not None else None
    return {
        "id": f"resp_{uuid4().hex}",
        "object": "response",
        "created_at": now(),
        "status": "in_progress",
        "background": False,
        "completed_at": None,
        "error": None,
        "incomplete_details": None,
        "instructions": asked.instructions,
        "max_output_tokens": asked.max_output_tokens,
        "max_tool_calls": None,
        "metadata": asked.metadata or {},
        "model": model,
        "output": [],
        "parallel_tool_calls": asked.parallel_tool_calls is not False,
        "previous_response_id": None,
        "prompt_cache_key": asked.prompt_cache_key,
        "reasoning": {
            "effort": asked.reasoning.effort if asked.reasoning else None,
            "summary": None,
        },
        "safety_identifier": asked.safety_identifier,
        "service_tier": "default",
        "store": False,
        "temperature": 1.0 if asked.temperature is None else asked.temperature,
        "text": {"format": form or {"type": "text"}},
        "tool_choice": asked.tool_choice or "auto",
        "tools": asked.tools or [],
        "top_logprobs": asked.top_logprobs or 0,
        "top_p": 1.0 if asked.top_p is None else asked.top_p,
        "truncation": "disabled",
        "usage": None,
        "user": asked.user,
    }
