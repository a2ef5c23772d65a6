"""The unix-socket server: parses calls, loads what they need, passes answers on as they come."""

import asyncio
import json
import logging
import os
from collections.abc import AsyncIterator, Awaitable, Coroutine, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeVar, assert_never
from weakref import WeakValueDictionary

import psutil
from pydantic import BaseModel, ValidationError

from faults import Fault, OurFault, UserFault
from finetune.discretion import told
from finetune.families.contract import ReadAdapter
from finetune.records.pieces import Preview
from finetune.serving import sockets
from finetune.serving.bases import AnyBase, Base, require_head, require_no_head, writing
from finetune.serving.costs import check_cost, cost_of
from finetune.serving.embedding import EmbeddingTicket, base_for, texts_of
from finetune.serving.previews import Previews
from finetune.serving.protocol import (
    MAX_LINE,
    REQUEST,
    Cost,
    Delta,
    Embedded,
    EmbedRequest,
    Evicted,
    EvictRequest,
    GenerateRequest,
    HasAdapterRequest,
    LoadAdapterRequest,
    LoadedBase,
    MeasureRequest,
    PreviewRequest,
    Request,
    Resident,
    Scored,
    ScoreRequest,
    Status,
    StatusRequest,
)
from finetune.serving.scheduler import Scheduler
from finetune.serving.scoring import ScoringTicket, conversations_of
from finetune.serving.store import ModelStore
from finetune.serving.structured.asked import constraint_of
from finetune.serving.structured.grammar import Constraint
from finetune.serving.texts import TextTicket
from finetune.serving.ticket import Ticket, encode_prompt

log = logging.getLogger(__name__)
HUNG_UP = (ConnectionError, TimeoutError, asyncio.IncompleteReadError)  # of a caller that is gone

_STALLED = 60.0  # seconds in which a caller must take what it is sent, or lose its answer
_COMPILING = 8  # schemas read at once, each of another tenant
_NICE = 10
T = TypeVar("T")
_Outbox = asyncio.Queue[Delta | Embedded | Scored | Fault]
ModelRequest = GenerateRequest | EmbedRequest | ScoreRequest


class Server:
    def __init__(self, store: ModelStore, scheduler: Scheduler) -> None:
        self._store = store
        self._scheduler = scheduler
        self._loader = ThreadPoolExecutor(1, thread_name_prefix="loader")
        self._previews = Previews()
        # Of their own, and behind the model: whoever waits for a dear schema holds up no prompt
        self._compilers = ThreadPoolExecutor(_COMPILING, "compiler", os.nice, (_NICE,))
        self._calls: set[asyncio.Task[None]] = set()
        self._answering: dict[Ticket | TextTicket, _Outbox] = {}
        self._encoding: WeakValueDictionary[str, asyncio.Lock] = WeakValueDictionary()

    @asynccontextmanager
    async def listening(self, path: Path) -> AsyncIterator[None]:
        """Serve on a socket that only this user may open; gone from the disk at the end.

        Raises UserFault `socket_in_use` while another server answers there.
        """
        sockets.free(path)
        server = await sockets.start(self._connected, path)
        self._scheduler.start()
        try:
            yield
        finally:
            server.close()
            path.unlink(missing_ok=True)
            await asyncio.to_thread(self._scheduler.stop)  # fails what is under way, by name
            if self._calls:
                await asyncio.wait(self._calls, timeout=2)
            for call in list(self._calls):
                call.cancel()
            for pool in (self._loader, self._compilers):
                pool.shutdown(wait=False, cancel_futures=True)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task is not None
        self._calls.add(task)
        try:
            while await self._call(reader, writer):
                pass
        except HUNG_UP:
            pass  # the caller is gone; its ticket was cancelled on the way here
        finally:
            self._calls.discard(task)
            writer.close()

    async def _call(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One call of a connection; False at its end."""
        try:
            line = await reader.readline()
        except ValueError:
            await _send_error(writer, _too_long())
            return False  # where the line ends is unknown, so nothing after it can be read
        if not line:
            return False
        try:
            await self._answer(_parse(line), reader, writer)
        except Fault as error:
            await _send_error(writer, error)
            return error.code != "adapter_too_large"  # its bytes are still on the way
        except HUNG_UP:
            raise
        except Exception as error:
            log.exception("a call failed")
            await _send_error(writer, OurFault("server_error", f"The call failed: {told(error)}."))
        return True

    async def _answer(
        self, request: Request, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        match request:
            case GenerateRequest():
                await self._generate(request, reader, writer)
            case EmbedRequest() | ScoreRequest():
                await _send(writer, await _until_gone(self._of_texts(request), reader))
            case LoadAdapterRequest():
                self._store.check_upload(request.bytes)
                await self._load_adapter(request, await reader.readexactly(request.bytes))
                await _send(writer, {"ok": True})
            case HasAdapterRequest():
                known = self._store.has_adapter(request.base_digest, request.tenant, request.digest)
                await _send(writer, {"loaded": known})
            case MeasureRequest():
                await _send(writer, await _until_gone(self._measure(request), reader))
            case EvictRequest():
                await _send(writer, self._evict(request))
            case PreviewRequest():
                await _send(writer, await _until_gone(self._preview(request), reader))
            case StatusRequest():
                await _send(writer, self._status())
            case _:
                assert_never(request)

    async def _load_adapter(self, request: LoadAdapterRequest, data: bytes) -> None:
        if self._store.has_adapter(request.base_digest, request.tenant, request.digest):
            return
        base = await self._base(request.base_path, request.base_digest)
        owned = request.tenant, request.digest
        await self._in_loader(self._store.add_adapter, base, *owned, data, request.config)

    async def _base(self, path: str, digest: str) -> AnyBase:
        if (known := self._store.loaded(digest)) is not None:
            return known
        base: AnyBase = await self._in_loader(self._store.base, Path(path), digest)
        return base

    async def _in_loader(self, function: Any, *args: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._loader, function, *args)

    # --- generation

    async def _generate(
        self,
        request: GenerateRequest,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> None:
        self._adapter(request)  # absent: say so before anything is loaded or read
        base = writing(await self._base(request.base_path, request.base_digest))
        require_no_head(self._adapter(request))
        prompt, constraint = await self._encode(base, request)
        if request.limits is not None:
            check_cost(cost_of(request, len(prompt), base.context_length), request.limits)
        outbox: _Outbox = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(item: Delta | Fault) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody listens any more
                loop.call_soon_threadsafe(outbox.put_nowait, item)

        # From here to the submission nothing waits, so that no eviction falls in between.
        ticket = Ticket(request, base, self._adapter(request), prompt, emit, constraint)
        self._scheduler.submit(ticket)
        self._answering[ticket] = outbox
        try:
            await _until_gone(_relay(outbox, writer), reader)
        finally:
            ticket.cancelled = True  # no effect on what is complete
            del self._answering[ticket]

    async def _of_texts(self, request: EmbedRequest | ScoreRequest) -> Embedded | Scored:
        adapter = self._adapter(request)  # absent: say so before anything is loaded or read
        if isinstance(request, ScoreRequest):
            require_head(adapter)
        base = await self._base(request.base_path, request.base_digest)
        texts = await self._texts(base, request)
        if request.limits is not None:
            check_cost(Cost(tokens=sum(map(len, texts)), logprobs=0), request.limits)
        outbox: _Outbox = asyncio.Queue()
        loop = asyncio.get_running_loop()

        def emit(item: Embedded | Scored | Fault) -> None:
            with suppress(RuntimeError):  # the loop has ended: nobody listens any more
                loop.call_soon_threadsafe(outbox.put_nowait, item)

        # From here to the submission nothing waits, so that no eviction falls in between.
        made: Any = ScoringTicket if isinstance(request, ScoreRequest) else EmbeddingTicket
        ticket: TextTicket = made(request, base, self._adapter(request), texts, emit)
        self._scheduler.submit(ticket)
        self._answering[ticket] = outbox
        try:
            item = await outbox.get()
            if isinstance(item, Fault):
                raise item
            assert isinstance(item, Embedded | Scored)
            return item
        finally:
            ticket.cancelled = True  # no effect on what is complete
            del self._answering[ticket]

    async def _texts(self, base: AnyBase, request: EmbedRequest | ScoreRequest) -> Sequence[Any]:
        async with self._turn_of(request.tenant):
            if isinstance(request, ScoreRequest):
                return await _ended(asyncio.to_thread(conversations_of, writing(base), request))
            return await _ended(asyncio.to_thread(texts_of, base_for(base, request), request))

    async def _encode(
        self, base: Base, request: GenerateRequest
    ) -> tuple[list[int], Constraint | None]:
        """One prompt and one schema of each tenant at a time, so that many long ones hold up their
        own alone."""
        async with self._turn_of(request.tenant):
            prompt = await _ended(asyncio.to_thread(encode_prompt, base, request))
            compiling = asyncio.get_running_loop().run_in_executor(
                self._compilers, constraint_of, base, request
            )
            return prompt, await _ended(compiling)

    async def _preview(self, request: PreviewRequest) -> Preview:
        async with self._turn_of(request.tenant):
            return await _ended(asyncio.to_thread(self._previews.of, request))

    def _turn_of(self, tenant: str) -> asyncio.Lock:
        """What one tenant's requests wait for in turn before they are read."""
        return self._encoding.setdefault(tenant, asyncio.Lock())

    def _adapter(self, request: ModelRequest) -> ReadAdapter | None:
        if request.adapter_digest is None:
            return None
        return self._store.adapter(request.base_digest, request.tenant, request.adapter_digest)

    async def _measure(self, request: MeasureRequest) -> Cost:
        total = Cost(tokens=0, logprobs=0)
        for each in request.requests:
            found = await self._base(each.base_path, each.base_digest)
            if isinstance(each, EmbedRequest | ScoreRequest):
                texts = await self._texts(found, each)
                total += Cost(tokens=sum(map(len, texts)), logprobs=0)
                continue
            base = writing(found)
            prompt, _ = await self._encode(base, each)
            total += cost_of(each, len(prompt), base.context_length)
        return total

    def _evict(self, request: EvictRequest) -> Evicted:
        adapters = self._store.evict(
            request.tenant, base_digest=request.base_digest, digest=request.adapter_digest
        )
        ended = [ticket for ticket in self._answering if _concerns(request, ticket.request)]
        for ticket in ended:
            ticket.cancelled = True
            self._answering[ticket].put_nowait(_evicted())
        return Evicted(adapters=adapters, answers=len(ended))

    def _status(self) -> Status:
        return Status(
            pid=os.getpid(),
            turns=self._scheduler.turns,
            memory_mb=psutil.Process().memory_info().rss >> 20,
            bases=[self._loaded(base) for base in self._store.bases()],
        )

    def _loaded(self, base: AnyBase) -> LoadedBase:
        running, waiting = self._scheduler.load(base)
        requests = [ticket.request for ticket in self._answering if ticket.base is base]
        return LoadedBase(
            digest=base.digest,
            precision=str(base.model.dtype).removeprefix("torch."),
            context_length=base.context_length,
            adapters=[Resident(tenant=t, digest=d) for t, d in self._store.adapters_of(base)],
            running=running,
            waiting=waiting,
            requests=len(requests),
            tenants=sorted({request.tenant for request in requests}),
        )


def _concerns(eviction: EvictRequest, request: ModelRequest) -> bool:
    return (
        eviction.tenant == request.tenant
        and eviction.base_digest in (None, request.base_digest)
        and eviction.adapter_digest in (None, request.adapter_digest)
    )


async def _relay(outbox: _Outbox, writer: asyncio.StreamWriter) -> None:
    """Write deltas until the one with usage; a caller that stops reading is cut off."""
    while True:
        item = await outbox.get()
        if isinstance(item, Fault):
            raise item
        assert isinstance(item, Delta)
        await _send(writer, item)
        if item.usage is not None:
            return


async def _until_gone(work: Coroutine[Any, Any, T], reader: asyncio.StreamReader) -> T:
    """Run `work`, but give up at once when the caller hangs up.

    Callers send nothing during an answer, so that reading ends means that they are gone.
    """
    working = asyncio.create_task(work)
    listening = asyncio.create_task(reader.read(1))
    try:
        await asyncio.wait({working, listening}, return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise ConnectionResetError("the caller hung up")
        return await working
    finally:
        for task in (working, listening):
            task.cancel()
        await asyncio.gather(working, listening, return_exceptions=True)


async def _ended(threaded: Awaitable[T]) -> T:
    """A thread is not ended from outside: it has its tenant's turn until it is done, or whoever
    asks and hangs up again and again would have many at once."""
    working = asyncio.ensure_future(threaded)
    try:
        return await asyncio.shield(working)
    except asyncio.CancelledError:
        await asyncio.wait([working])
        raise


def _parse(line: bytes) -> Request:
    try:
        return REQUEST.validate_json(line)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"][1:])
        raise UserFault(
            "invalid_request", f"{where or 'The call'}: {first['msg']}", param=where or None
        ) from error


async def _send(writer: asyncio.StreamWriter, frame: BaseModel | dict[str, Any]) -> None:
    line = (
        frame.model_dump_json(exclude_defaults=True)
        if isinstance(frame, BaseModel)
        else json.dumps(frame, ensure_ascii=False)
    )
    writer.write(line.encode() + b"\n")
    async with asyncio.timeout(_STALLED):
        await writer.drain()


async def _send_error(writer: asyncio.StreamWriter, error: Fault) -> None:
    await _send(writer, {"error": error.as_dict()})


def _evicted() -> UserFault:
    return UserFault(
        "model_evicted",
        "The model was deleted, or the right to use it ended, while it answered.",
        fix="`GET /v1/models` lists the models that you can use.",
    )


def _too_long() -> UserFault:
    return UserFault("request_too_large", f"A call has at most {MAX_LINE >> 20} MB.")
