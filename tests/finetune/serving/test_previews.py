"""What the model's process reads in threads, of callers that hang up."""

import asyncio
import threading
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from finetune.serving import server as serving
from finetune.serving.lane import Limits
from finetune.serving.protocol import EmbedRequest, MeasureRequest, PreviewRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.server import Server
from finetune.serving.store import ModelStore

ASKED = PreviewRequest(
    tenant="t", base_path="-", base_digest="d", row={"messages": []}, row_format="chat"
)


EMBEDS = EmbedRequest(tenant="t", base_path="-", base_digest="d", inputs=["a"])


async def hung_up(socket: Path, asked: BaseModel) -> None:
    _, writer = await asyncio.open_unix_connection(str(socket))
    writer.write(asked.model_dump_json().encode() + b"\n")
    await writer.drain()
    await asyncio.sleep(0.2)
    writer.close()


@pytest.mark.parametrize("asked", [ASKED, EMBEDS, MeasureRequest(requests=[EMBEDS, EMBEDS])])
def test_nothing_begins_for_who_hung_up_and_what_has_begun_keeps_its_turn(
    asked: BaseModel, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = ModelStore(max_bases=1, adapter_bytes=0, precision="fp32")
    server, socket = Server(store, Scheduler(Limits(), threads=1)), tmp_path / "s"
    begun, ended = list[Any](), threading.Event()

    def slow(*given: Any) -> Any:
        begun.append(given)
        ended.wait(60)
        raise AssertionError("nobody is told")

    class Slow:
        of = staticmethod(slow)

    server._previews = Slow()  # type: ignore[assignment]
    monkeypatch.setattr(store, "loaded", lambda digest: "a base")
    monkeypatch.setattr(serving, "base_for", lambda base, request: base)
    monkeypatch.setattr(serving, "texts_of", slow)

    async def three() -> None:
        async with server.listening(socket):
            await asyncio.gather(*(hung_up(socket, asked) for _ in range(3)))
            turn = server._turn_of("t")
            assert turn.locked(), "the thread is not done"
            ended.set()
            async with asyncio.timeout(60):
                while turn.locked():
                    await asyncio.sleep(0.01)

    asyncio.run(three())
    assert len(begun) == 1
