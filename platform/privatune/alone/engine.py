"""Serving's own engine with one model in it, asked over its socket as the platform asks it."""

from collections.abc import AsyncIterator
from contextlib import aclosing, asynccontextmanager
from pathlib import Path
from typing import Any

from finetune.api.wire.chat_answer import Deltas
from finetune.serving.client import ServingClient
from finetune.serving.protocol import Embedded, EmbedRequest, GenerateRequest
from privatune.alone.opened import Opened

OURS = "alone"  # whose turn it takes: there is nobody else


class Engine:
    def __init__(self, client: ServingClient, model: Opened) -> None:
        self._client = client
        self.model = model

    async def load(self) -> None:
        """The base and the adapter into memory. Raises UserFault where they do not load."""
        made = self.model
        if made.adapter is not None:
            await self._client.load_adapter(
                made.base_dir,
                made.adapter.sha256,
                made.adapter.safetensors,
                made.adapter.config,
                tenant=OURS,
                base_digest=made.base_digest,
            )
        else:
            await self._client.measure([self._request({"prompt": "a", "max_tokens": 1})])

    async def begun(self, generation: dict[str, Any]) -> Deltas:
        """The deltas, once the first of them is there: what fails before has a status."""
        deltas = self._client.generate(self._request(generation))
        first = await anext(deltas)

        async def all_of_them() -> Deltas:
            async with aclosing(deltas) as rest:
                yield first
                async for delta in rest:
                    yield delta

        return all_of_them()

    async def embed(self, inputs: list[str | list[int]], **asked: Any) -> Embedded:
        """`asked`: EmbedRequest's `side` and `dimensions`, or `query` and what goes with it."""
        made = self.model
        return await self._client.embed(
            EmbedRequest(
                tenant=OURS,
                base_path=str(made.base_dir),
                base_digest=made.base_digest,
                adapter_digest=made.adapter.sha256 if made.adapter else None,
                inputs=inputs,
                **asked,
            )
        )

    def _request(self, generation: dict[str, Any]) -> GenerateRequest:
        made = self.model
        return GenerateRequest(
            tenant=OURS,
            base_path=str(made.base_dir),
            base_digest=made.base_digest,
            adapter_digest=made.adapter.sha256 if made.adapter else None,
            **generation,
        )


@asynccontextmanager
async def running(
    model: Opened, socket: Path, *, precision: str, threads: int | None
) -> AsyncIterator[Engine]:
    """With the model in memory."""
    import torch

    from finetune.serving.lane import Limits
    from finetune.serving.scheduler import Scheduler
    from finetune.serving.server import Server
    from finetune.serving.store import ModelStore

    if threads:
        torch.set_num_threads(threads)
    adapter = len(model.adapter.safetensors) if model.adapter else 0
    store = ModelStore(max_bases=1, adapter_bytes=4 * adapter + 1, precision=precision)  # type: ignore[arg-type]
    scheduler = Scheduler(
        Limits(rows=32, kv_bytes=1 << 30), max_waiting=1024, tenant_waiting=1024, threads=threads
    )
    async with Server(store, scheduler).listening(socket):
        engine = Engine(ServingClient(socket), model)
        await engine.load()
        yield engine
