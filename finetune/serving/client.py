"""The model server's caller: one connection a call, closed to cancel."""

import asyncio
import json
from collections.abc import AsyncGenerator, AsyncIterator, Sequence
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from pydantic import BaseModel

from faults import OurFault, from_dict
from finetune.records.pieces import Preview
from finetune.serving.protocol import (
    MAX_LINE,
    Cost,
    Delta,
    Embedded,
    EmbedRequest,
    Evicted,
    EvictRequest,
    GenerateRequest,
    HasAdapterRequest,
    LoadAdapterRequest,
    MeasureRequest,
    PreviewRequest,
    Scored,
    ScoreRequest,
    Status,
    StatusRequest,
)

Connection = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class ServingClient:
    """Errors of the server arrive as the UserFault or OurFault that it raised; a server that
    cannot be reached, or that ends in the middle, is OurFault `serving_unavailable`."""

    def __init__(self, socket: Path | str) -> None:
        self._socket = str(socket)

    async def has_adapter(self, tenant: str, base_digest: str, digest: str) -> bool:
        reply = await self._ask(
            HasAdapterRequest(tenant=tenant, base_digest=base_digest, digest=digest)
        )
        return bool(reply["loaded"])

    async def measure(
        self, requests: Sequence[GenerateRequest | EmbedRequest | ScoreRequest]
    ) -> Cost:
        """What the requests, all of one base, cost together. Raises what `generate`, `embed` or
        `score` would of their prompts."""
        return Cost.model_validate(await self._ask(MeasureRequest(requests=list(requests))))

    async def evict(
        self, tenant: str, *, base_digest: str | None = None, adapter_digest: str | None = None
    ) -> Evicted:
        """Forget the tenant's adapters and end its answers with `model_evicted`: all of them, or
        those on one base, or of one adapter."""
        request = EvictRequest(
            tenant=tenant, base_digest=base_digest, adapter_digest=adapter_digest
        )
        return Evicted.model_validate(await self._ask(request))

    async def load_adapter(
        self,
        base_path: Path | str,
        digest: str,
        safetensors: bytes,
        config: dict[str, Any],
        *,
        tenant: str,
        base_digest: str,
    ) -> None:
        """Send an adapter; the base is loaded if need be. Sending it again does nothing.

        Raises UserFault `adapter_unsupported`, `adapter_mismatch`, `adapter_too_large`.
        """
        request = LoadAdapterRequest(
            tenant=tenant,
            base_path=str(base_path),
            base_digest=base_digest,
            digest=digest,
            config=config,
            bytes=len(safetensors),
        )
        await self._ask(request, safetensors)

    async def generate(self, request: GenerateRequest) -> AsyncGenerator[Delta, None]:
        """Deltas as they come, the last with `usage`. Leaving the iterator (`aclose`) cancels.

        Raises OurFault `adapter_not_loaded` (send it, ask again), `overloaded`, `shutting_down`;
        UserFault `context_length_exceeded`, `request_too_costly`, `too_many_waiting`,
        `model_evicted`, `invalid_request`, `invalid_prompt`, ...
        """
        async with self._connected() as connection:
            await _write(connection, request)
            while True:
                delta = Delta.model_validate(await _read(connection))
                yield delta
                if delta.usage is not None:
                    return

    async def collect(self, request: GenerateRequest) -> list[Delta]:
        """One delta for each choice, in order, with its whole text; the last has the usage."""
        whole = [Delta(index=index) for index in range(request.n)]
        async with aclosing(self.generate(request)) as deltas:
            async for delta in deltas:
                if delta.usage is not None:
                    return [*whole, delta]
                whole[delta.index] = _joined(whole[delta.index], delta)
        raise unavailable("the answer broke off")

    async def embed(self, request: EmbedRequest) -> Embedded:
        """Raises OurFault `adapter_not_loaded`, `overloaded`, `shutting_down`; UserFault
        `context_length_exceeded`, `request_too_costly`, `too_many_waiting`, `model_evicted`,
        `model_writes`, `invalid_value`."""
        return Embedded.model_validate(await self._ask(request))

    async def score(self, request: ScoreRequest) -> Scored:
        """Raises what `embed` raises, but for UserFault `model_embeds` and `not_a_reward_model`."""
        return Scored.model_validate(await self._ask(request))

    async def preview(self, request: PreviewRequest) -> Preview:
        """Raises UserFault `no_tokenizer`, OurFault `base_missing`, `base_mismatch`."""
        return Preview.model_validate(await self._ask(request))

    async def status(self) -> Status:
        return Status.model_validate(await self._ask(StatusRequest()))

    async def _ask(self, request: BaseModel, payload: bytes = b"") -> dict[str, Any]:
        async with self._connected() as connection:
            await _write(connection, request, payload)
            return await _read(connection)

    @asynccontextmanager
    async def _connected(self) -> AsyncIterator[Connection]:
        try:
            reader, writer = await asyncio.open_unix_connection(self._socket, limit=MAX_LINE)
        except OSError as error:
            raise unavailable(str(error)) from error
        try:
            yield reader, writer
        except OSError as error:
            raise unavailable(str(error)) from error
        finally:
            writer.close()


async def _write(connection: Connection, request: BaseModel, payload: bytes = b"") -> None:
    _, writer = connection
    writer.write(request.model_dump_json().encode() + b"\n")
    writer.write(payload)
    try:
        await writer.drain()
    except ConnectionError:
        return  # refused while it was sent; the reply says why


async def _read(connection: Connection) -> dict[str, Any]:
    line = await connection[0].readline()
    if not line.endswith(b"\n"):
        raise unavailable("the answer broke off")
    frame: dict[str, Any] = json.loads(line)
    if "error" in frame:
        raise from_dict(frame["error"])
    return frame


def _joined(whole: Delta, delta: Delta) -> Delta:
    return Delta(
        index=whole.index,
        text=whole.text + delta.text,
        reasoning=whole.reasoning + delta.reasoning,
        logprobs=whole.logprobs + delta.logprobs,
        tool_calls=whole.tool_calls + delta.tool_calls,
        finish_reason=delta.finish_reason or whole.finish_reason,
    )


def unavailable(reason: str) -> OurFault:
    return OurFault(
        "serving_unavailable",
        f"The model server does not answer: {reason}",
        fix="See that `python -m finetune.serving` runs on this socket.",
    )
