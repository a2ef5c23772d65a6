"""What a model writes as the events of `/v1/responses`, numbered, and as the response that they end
in: thoughts, what is said, and calls are items of their own."""

from collections.abc import AsyncGenerator, Iterator
from typing import Any
from uuid import uuid4

from finetune.api.explaining import explain
from finetune.api.wire.chat_answer import Deltas, logprobs_of
from finetune.api.wire.event_streams import data_line
from finetune.api.wire.sampling import now
from finetune.serving.protocol import Delta, ToolCall, Usage

Event = dict[str, Any]


def event_line(event: Event) -> bytes:
    return f"event: {event['type']}\n".encode() + data_line(event)


class _Text:
    """An item with one growing part: `kind` reasoning or message."""

    PARTS = {"message": "output_text", "reasoning": "reasoning_text"}

    def __init__(self, kind: str, place: int) -> None:
        self.kind, self.place = kind, place
        self.id = f"{'msg' if kind == 'message' else 'rs'}_{uuid4().hex}"
        self.name = self.PARTS[kind]
        self.text = ""
        self.logprobs: list[dict[str, Any]] = []

    def part(self) -> dict[str, Any]:
        part: dict[str, Any] = {"type": self.name, "text": self.text}
        if self.kind == "message":
            part |= {"annotations": [], "logprobs": self.logprobs}
        return part

    def item(self, status: str, content: list[dict[str, Any]]) -> dict[str, Any]:
        own: dict[str, Any] = {"role": "assistant"} if self.kind == "message" else {"summary": []}
        return {"id": self.id, "type": self.kind, "status": status, "content": content} | own


class Telling:
    """`response` is what was written so far, and at the end the whole answer."""

    def __init__(self, response: dict[str, Any], *, logprobs: bool) -> None:
        self.response = response
        self._logprobs = logprobs
        self._numbered = 0
        self._open: _Text | None = None
        self._reason: str | None = None

    async def events(self, deltas: Deltas) -> AsyncGenerator[Event]:
        yield self._event("response.created", response=dict(self.response))
        yield self._event("response.in_progress", response=dict(self.response))
        async for delta in deltas:
            for event in self._told(delta):
                yield event

    def error(self, error: BaseException) -> Event:
        """After the status was sent."""
        problem = explain(error)
        return self._event("error", code=problem.code, message=problem.text, param=problem.param)

    def _event(self, kind: str, **fields: Any) -> Event:
        event = {"type": kind, "sequence_number": self._numbered, **fields}
        self._numbered += 1
        return event

    def _told(self, delta: Delta) -> Iterator[Event]:
        self._reason = delta.finish_reason or self._reason
        if delta.reasoning:
            yield from self._grown("reasoning", delta.reasoning, [])
        told = logprobs_of(delta.logprobs) if self._logprobs and not delta.reasoning else []
        if delta.text or told:
            yield from self._grown("message", delta.text, told)
        for call in delta.tool_calls:
            yield from self._called(call)
        if delta.usage is not None:
            yield from self._ended(delta.usage)

    def _grown(self, kind: str, text: str, logprobs: list[dict[str, Any]]) -> Iterator[Event]:
        if self._open is None or self._open.kind != kind:
            yield from self._closed()
            yield from self._opened(_Text(kind, len(self.response["output"])))
        growing = self._open
        assert growing is not None  # just opened, if it was not
        growing.text += text
        growing.logprobs += logprobs
        more = {"logprobs": logprobs} if kind == "message" else {}
        yield self._of_part(f"response.{growing.name}.delta", growing, delta=text, **more)

    def _opened(self, text: _Text) -> Iterator[Event]:
        self._open = text
        item = text.item("in_progress", [])
        yield self._event("response.output_item.added", output_index=text.place, item=item)
        yield self._of_part("response.content_part.added", text, part=text.part())

    def _closed(self, status: str = "completed") -> Iterator[Event]:
        text, self._open = self._open, None
        if text is None:
            return
        more = {"logprobs": text.logprobs} if text.kind == "message" else {}
        yield self._of_part(f"response.{text.name}.done", text, text=text.text, **more)
        yield self._of_part("response.content_part.done", text, part=text.part())
        yield self._done(text.item(status, [text.part()]))

    def _called(self, call: ToolCall) -> Iterator[Event]:
        """A call comes whole, once the model has ended it."""
        yield from self._closed()
        place, name = len(self.response["output"]), f"fc_{uuid4().hex}"
        item = {
            "id": name,
            "type": "function_call",
            "call_id": call.id,
            "name": call.name,
            "arguments": "",
            "status": "in_progress",
        }
        yield self._event("response.output_item.added", output_index=place, item=item)
        at = {"item_id": name, "output_index": place}
        kind = "response.function_call_arguments"
        yield self._event(f"{kind}.delta", **at, delta=call.arguments)
        yield self._event(f"{kind}.done", **at, name=call.name, arguments=call.arguments)
        yield self._done(item | {"arguments": call.arguments, "status": "completed"})

    def _ended(self, usage: Usage) -> Iterator[Event]:
        cut = self._reason == "length"
        if self._open is None and not self.response["output"]:
            yield from self._opened(_Text("message", 0))  # it ended without a word
        yield from self._closed("incomplete" if cut else "completed")
        status = "incomplete" if cut else "completed"
        self.response |= {
            "status": status,
            "incomplete_details": {"reason": "max_output_tokens"} if cut else None,
            "completed_at": None if cut else now(),
            "usage": usage_object(usage),
        }
        yield self._event(f"response.{status}", response=self.response)

    def _done(self, item: dict[str, Any]) -> Event:
        place = len(self.response["output"])
        self.response["output"] = [*self.response["output"], item]
        return self._event("response.output_item.done", output_index=place, item=item)

    def _of_part(self, kind: str, of: _Text, /, **fields: Any) -> Event:
        at = {"item_id": of.id, "output_index": of.place, "content_index": 0}
        return self._event(kind, **at, **fields)


def usage_object(usage: Usage) -> dict[str, Any]:
    """No prompt is cached between requests, and thoughts are not counted apart."""
    return {
        "input_tokens": usage.prompt_tokens,
        "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
        "output_tokens": usage.completion_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }
