"""/v1/completions: untemplated text, whole or streamed, for one prompt or several."""

from functools import partial
from typing import Any
from uuid import uuid4

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from finetune.api.bodies import parse
from finetune.api.wire.chat_answer import Deltas
from finetune.api.wire.completion_answer import events, in_turn, whole
from finetune.api.wire.completion_request import CompletionRequest
from finetune.api.wire.generating import GeneratingView, Opening, stream_reply, whole_reply
from finetune.api.wire.sampling import now
from finetune.services.models.gateway import Target
from finetune.services.models.tokens import Reservation


class Completions(GeneratingView):
    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(CompletionRequest, request)
        asked.check()
        prompts = asked.prompts()
        target = await self.resolve(asked.model)
        generations = [asked.generation(prompt) for prompt in prompts]
        opening = Opening(self, target, generations, partial(self._all, target, asked, generations))
        head = {
            "id": f"cmpl-{uuid4().hex}",
            "object": "text_completion",
            "created": now(),
            "model": target.model,
            "system_fingerprint": target.fingerprint,
        }
        if asked.stream:
            return await stream_reply(opening, partial(events, head, asked))
        deltas = await opening.deltas()
        return whole_reply(await whole(head, asked, deltas, len(prompts)), opening)

    async def _all(
        self,
        target: Target,
        asked: CompletionRequest,
        generations: list[dict[str, Any]],
        reserved: Reservation,
    ) -> Deltas:
        return await in_turn(asked, generations, lambda each: self.begun(target, each, reserved))
