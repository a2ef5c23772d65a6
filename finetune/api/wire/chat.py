"""/v1/chat/completions, whole or streamed."""

from functools import partial
from uuid import uuid4

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from finetune.api.bodies import parse
from finetune.api.wire.chat_answer import events, whole
from finetune.api.wire.chat_request import ChatRequest
from finetune.api.wire.generating import GeneratingView, Opening, stream_reply, whole_reply
from finetune.api.wire.sampling import now


class ChatCompletions(GeneratingView):
    async def post(self, request: HttpRequest) -> HttpResponseBase:
        asked = parse(ChatRequest, request)
        asked.check()
        generation = asked.generation()
        target = await self.resolve(asked.model)
        opening = Opening(self, target, [generation])
        head = {
            "id": f"chatcmpl-{uuid4().hex}",
            "created": now(),
            "model": target.model,
            "system_fingerprint": target.fingerprint,
        }
        if asked.stream:
            return await stream_reply(opening, partial(events, head, asked))
        return whole_reply(await whole(head, asked, await opening.deltas()), opening)
