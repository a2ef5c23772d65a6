"""A stream whose first token is long in coming, read by the unmodified openai client; in process,
with short seconds and no model."""

import asyncio
import threading
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from functools import partial
from typing import Any

import httpx
import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync, sync_to_async
from django.http import StreamingHttpResponse
from openai import APIError, OpenAI

from faults import UserFault
from finetune.api.wire import chat, event_streams
from finetune.api.wire.chat_request import ChatRequest
from finetune.services.models.tokens import TokensUsedUp
from finetune.serving.protocol import Delta, Usage
from tenants.buckets import Level

HEAD = {"id": "chatcmpl-1", "created": 1, "model": "m", "system_fingerprint": "fp"}
ASKED = ChatRequest(model="m", messages=[{"role": "user", "content": "x"}])
SHOW = partial(chat.events, HEAD, ASKED)
USED_UP = TokensUsedUp("Used up.", "Wait.", Level(limit=1, left=0, rate=1), 3)
END = Delta(usage=Usage(prompt_tokens=1, completion_tokens=2))


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(event_streams, "FIRST", 0.05)
    monkeypatch.setattr(event_streams, "QUIET", 0.05)


class Gate:
    """Holds the answer back until the test has seen what it wants to see."""

    def __init__(self) -> None:
        self.open = asyncio.Event()
        self.closed = False

    async def deltas(self, *given: Delta | Exception) -> AsyncIterator[Delta]:
        try:
            for each in given:
                if isinstance(each, Exception):
                    raise each
                yield each
                await self.open.wait()
        finally:
            self.closed = True


async def lines(response: StreamingHttpResponse) -> AsyncGenerator[bytes]:
    async for line in response:
        assert isinstance(line, bytes)
        yield line


def read(body: bytes) -> tuple[str, int]:
    """What the openai package makes of the bytes: the text, and how many chunks."""
    headers = {"content-type": "text/event-stream; charset=utf-8"}
    answer = httpx.MockTransport(lambda _: httpx.Response(200, headers=headers, content=body))
    client = OpenAI(api_key="k", base_url="http://x/v1", http_client=httpx.Client(transport=answer))
    messages: Any = [{"role": "user", "content": "x"}]
    text, count = "", 0
    for chunk in client.chat.completions.create(model="m", messages=messages, stream=True):
        count += 1
        text += "".join(choice.delta.content or "" for choice in chunk.choices)
    return text, count


def run(work: Callable[[], Awaitable[Any]]) -> Any:
    async def bounded() -> Any:
        return await work()

    return asyncio.run(bounded())


def test_who_waits_for_the_first_token_is_kept_company() -> None:
    async def work() -> bytes:
        gate = Gate()
        gate.open.set()
        begun: asyncio.Future[AsyncIterator[Delta]] = asyncio.get_running_loop().create_future()
        response = await event_streams.stream(begun, SHOW)
        assert response["content-type"] == "text/event-stream; charset=utf-8"
        body = b""
        async for line in lines(response):
            body += line
            if body.count(event_streams.COMMENT) == 3 and not begun.done():
                begun.set_result(gate.deltas(Delta(text="hé"), Delta(text="llo"), END))
        assert gate.closed
        return body

    body = run(work)
    assert body.startswith(event_streams.COMMENT)
    assert body.endswith(b"data: [DONE]\n\n")
    assert read(body) == ("héllo", 3)


def test_a_pause_between_tokens_is_filled_and_loses_nothing() -> None:
    async def work() -> bytes:
        gate = Gate()

        async def begin() -> AsyncIterator[Delta]:
            return gate.deltas(Delta(text="a"), Delta(text="b"), END)

        body = b""
        async for line in lines(await event_streams.stream(begin(), SHOW)):
            body += line
            if body.count(event_streams.COMMENT) == 2:
                gate.open.set()
        return body

    body = run(work)
    assert not body.startswith(event_streams.COMMENT), "the token was there"
    assert read(body) == ("ab", 3)


def test_what_fails_in_time_has_a_status_and_later_is_told_in_the_stream() -> None:
    fault = UserFault("model_evicted", "It is gone.", fix="List the models.", param="model")

    async def early() -> AsyncIterator[Delta]:
        raise fault

    async def work() -> bytes:
        with pytest.raises(UserFault):
            await event_streams.stream(early(), SHOW)
        begun: asyncio.Future[AsyncIterator[Delta]] = asyncio.get_running_loop().create_future()
        response = await event_streams.stream(begun, SHOW)
        begun.set_exception(fault)
        return b"".join([line async for line in lines(response)])

    with pytest.raises(APIError) as told:
        read(run(work))
    assert (told.value.code, told.value.param) == ("model_evicted", "model")
    assert told.value.type == "invalid_request_error"
    assert "It is gone. List the models." in str(told.value)


@pytest.mark.parametrize(
    ("error", "code", "kind"),
    [
        (ZeroDivisionError("a secret"), "internal_error", "server_error"),
        (USED_UP, "rate_limit_exceeded", "tokens"),
    ],
)
def test_an_error_in_the_middle_is_told_without_its_insides(
    error: Exception, code: str, kind: str
) -> None:
    async def work() -> bytes:
        gate = Gate()
        gate.open.set()

        async def begin() -> AsyncIterator[Delta]:
            return gate.deltas(Delta(text="a"), error)

        return b"".join([line async for line in lines(await event_streams.stream(begin(), SHOW))])

    body = run(work)
    with pytest.raises(APIError) as told:
        read(body)
    assert (told.value.code, told.value.type) == (code, kind)
    assert b"a secret" not in body


def test_who_leaves_ends_the_work_whether_it_has_begun_or_not() -> None:
    async def work() -> None:
        gate, ended = Gate(), asyncio.Event()

        async def never() -> AsyncIterator[Delta]:
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()
            raise AssertionError

        unbegun = lines(await event_streams.stream(never(), SHOW))
        assert await anext(unbegun) == event_streams.COMMENT
        await unbegun.aclose()
        await asyncio.wait_for(ended.wait(), 60)

        async def begin() -> AsyncIterator[Delta]:
            return gate.deltas(Delta(text="a"), END)

        response = await event_streams.stream(begin(), SHOW)
        leaving = lines(response)
        while b'"content": "a"' not in await anext(leaving):
            pass
        reading = asyncio.ensure_future(anext(leaving))
        await asyncio.sleep(0)
        reading.cancel()
        await asyncio.wait({reading})
        await leaving.aclose()
        await asyncio.wait_for(_until(lambda: gate.closed), 60)

    run(work)


async def behind_a_middleware(beginning: Callable[[Gate], Awaitable[Any]]) -> bytes:
    """What is read of a stream whose gate opens once the view has returned; its synchronous
    middleware, as all are behind one, goes on without it."""
    gate = Gate()
    async with ThreadSensitiveContext():
        behind = async_to_sync(event_streams.stream)
        response = await sync_to_async(behind)(beginning(gate), SHOW)
        gate.open.set()
        return b"".join([line async for line in lines(response)])


def test_what_is_late_may_still_ask_the_database_when_the_view_has_returned() -> None:
    asked: list[str] = []

    async def beginning(gate: Gate) -> AsyncIterator[Delta]:
        await sync_to_async(asked.append)("within the view")
        await gate.open.wait()
        await sync_to_async(asked.append)("after it")
        return gate.deltas(Delta(text="ok"), END)

    assert read(run(partial(behind_a_middleware, beginning)))[0] == "ok"
    assert asked == ["within the view", "after it"]


def test_what_asks_the_database_while_the_view_returns_may_ask_again() -> None:
    """Who comes back from a thread brings along what was set when they left."""
    asked: list[str] = []

    async def beginning(gate: Gate) -> AsyncIterator[Delta]:
        released = threading.Event()
        asyncio.get_running_loop().call_later(4 * event_streams.FIRST, released.set)
        await sync_to_async(released.wait)()
        await gate.open.wait()
        await sync_to_async(asked.append)("after it")
        return gate.deltas(Delta(text="ok"), END)

    assert read(run(partial(behind_a_middleware, beginning)))[0] == "ok"
    assert asked == ["after it"]


async def _until(true: Callable[[], bool]) -> None:
    while not true():
        await asyncio.sleep(0.01)
