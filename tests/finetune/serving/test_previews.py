"""Previews of rows in the model's process, of callers that hang up."""

import asyncio
import threading
from pathlib import Path
from typing import Any

from finetune.serving.lane import Limits
from finetune.serving.protocol import PreviewRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.server import Server
from finetune.serving.store import ModelStore

ASKED = PreviewRequest(
    tenant="t", base_path="-", base_digest="d", row={"messages": []}, row_format="chat"
)


async def hung_up(socket: Path) -> None:
    _, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(ASKED.model_dump_json().encode() + b"\n")
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()


def test_nothing_begins_for_who_hung_up_and_what_has_begun_keeps_its_turn(tmp_path: Path) -> None:
    store = ModelStore(max_bases=1, adapter_bytes=0, precision="fp32")
    server, socket = Server(store, Scheduler(Limits(), threads=1)), tmp_path / "s"
    begun, ended = list[PreviewRequest](), threading.Event()

    class Slow:
        def of(self, request: PreviewRequest) -> Any:
            begun.append(request)
            ended.wait(60)
            raise AssertionError("nobody is told")

    server._previews = Slow()  # type: ignore[assignment]

    async def three() -> None:
        async with server.listening(socket):
            await asyncio.gather(*(hung_up(socket) for _ in range(3)))
            turn = server._turn_of("t")
            assert turn.locked(), "the thread is not done"
            ended.set()
            async with asyncio.timeout(60):
                while turn.locked():
                    await asyncio.sleep(0.01)

    asyncio.run(three())
    assert len(begun) == 1
