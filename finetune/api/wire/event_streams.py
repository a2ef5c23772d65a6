"""Server-sent events of what a model writes. The status leaves within seconds, and a comment line
whenever nothing else does: proxies cut connections that say nothing for a minute, and who waits
behind others may wait longer for the first token."""

import asyncio
import contextvars
import json
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from asgiref.current_thread_executor import CurrentThreadExecutor
from asgiref.sync import AsyncToSync, SyncToAsync
from django.http import StreamingHttpResponse

from finetune.api.explaining import explain, foreseen
from finetune.api.problems import wire_error
from finetune.api.wire.chat_answer import Deltas

log = logging.getLogger(__name__)

FIRST = 5.0  # seconds for which the first token is waited for: what fails by then has a status
QUIET = 15.0  # seconds of silence after which a comment says that the connection lives
COMMENT = b": the answer is on its way\n\n"  # event streams' readers skip lines with a colon first

Event = dict[str, Any]
Show = Callable[[Deltas], AsyncGenerator[Event]]


def data_line(event: Event) -> bytes:
    return b"data: " + json.dumps(event, ensure_ascii=False).encode() + b"\n\n"


def error_event(error: BaseException) -> Event:
    """The last event of a stream that broke off; SDKs raise what they read here."""
    return wire_error(explain(error))


@dataclass(frozen=True)
class Dialect:
    """How an address writes its events, its end, and an error after the status was sent."""

    line: Callable[[Event], bytes] = data_line
    end: bytes = b"data: [DONE]\n\n"
    error: Callable[[BaseException], Event] = error_event


async def stream(
    beginning: Awaitable[Deltas], show: Show, dialect: Dialect | None = None
) -> StreamingHttpResponse:
    """Raises what `beginning` raises within FIRST seconds; later errors are told in the stream."""
    context = contextvars.copy_context()
    context.run(_outlive_the_view)
    task = asyncio.get_running_loop().create_task(_awaited(beginning), context=context)
    try:
        await asyncio.wait({task}, timeout=FIRST)
    except asyncio.CancelledError:  # the client has gone
        task.cancel()
        raise
    if task.done():
        task.result()
    response = StreamingHttpResponse(
        _lines(task, show, dialect or Dialect()), content_type="text/event-stream; charset=utf-8"
    )
    response["Cache-Control"] = "no-cache"
    response["X-Accel-Buffering"] = "no"
    return response


async def _awaited(beginning: Awaitable[Deltas]) -> Deltas:
    return await beginning


def _outlive_the_view() -> None:
    if isinstance(view := getattr(AsyncToSync.executors, "current", None), CurrentThreadExecutor):
        AsyncToSync.executors.current = _Lasting(view)


class _Lasting(CurrentThreadExecutor):
    """Synchronous code of a view runs in the thread of a middleware that waits for the view; when
    that has gone on, what still asks the database takes the request's own thread. Set once and for
    all: whoever comes back from a thread brings what was set when they left (asgiref's Local)."""

    def __init__(self, view: CurrentThreadExecutor) -> None:
        super().__init__(view)
        self._view = view
        self._broken = True  # nothing is done in this thread: asgiref goes on to the view's

    def submit(self, fn: Callable[..., Any], /, *args: Any, **kwargs: Any) -> "Future[Any]":
        try:
            return self._view.submit(fn, *args, **kwargs)
        except RuntimeError:  # it has gone on
            return _own_thread().submit(fn, *args, **kwargs)


def _own_thread() -> Executor:
    """As asgiref chooses it where no view waits."""
    request = SyncToAsync.thread_sensitive_context.get(None)
    if request is None:
        return SyncToAsync.single_thread_executor
    own = SyncToAsync.context_to_thread_executor
    return own.get(request) or own.setdefault(request, ThreadPoolExecutor(max_workers=1))


async def _lines(
    beginning: "asyncio.Future[Deltas]", show: Show, dialect: Dialect
) -> AsyncGenerator[bytes]:
    patience = QUIET if beginning.done() else 0.0  # at once: a proxy's clock runs already
    try:
        async with aclosing(_paced(_shown(beginning, show), patience)) as events:
            async for event in events:
                yield COMMENT if event is None else dialect.line(event)
    except Exception as error:
        # The status is sent: what went wrong is told where the answer would stand.
        log.warning("a stream broke off: %s", error, exc_info=foreseen(error) is None)
        yield dialect.line(dialect.error(error))
        return
    if dialect.end:
        yield dialect.end


async def _shown(beginning: "asyncio.Future[Deltas]", show: Show) -> AsyncGenerator[Event]:
    async with aclosing(show(await beginning)) as events:
        async for event in events:
            yield event


async def _paced(events: AsyncGenerator[Event], patience: float) -> AsyncGenerator[Event | None]:
    """Each event as it comes, and None whenever there was none for so many seconds."""
    async with aclosing(events):
        while True:
            coming = asyncio.ensure_future(anext(events))
            try:
                while not (await asyncio.wait({coming}, timeout=patience))[0]:
                    patience = QUIET
                    yield None
                event = coming.result()
            except StopAsyncIteration:
                return
            finally:
                if coming.cancel():  # the reader has gone: so does the work, before it is closed
                    await asyncio.wait({coming})
            patience = QUIET
            yield event
