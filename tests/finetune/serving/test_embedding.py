"""Vectors from the serving process: of many texts, several tenants and their adapters at once, cut
to fewer dimensions; what cannot be embedded is told."""

import asyncio
import base64
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save

from faults import Fault, OurFault, UserFault
from finetune.families import family
from finetune.families.contract import AdapterSpec
from finetune.records.texts import TextEncoder
from finetune.serving.bases import EmbeddingBase, embedding, load_base, writing
from finetune.serving.client import ServingClient
from finetune.serving.embedding import EmbeddingTicket, texts_of
from finetune.serving.lane import Limits
from finetune.serving.protocol import MOST_INPUTS, Embedded, EmbedRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.server import Server
from finetune.serving.store import ModelStore
from finetune.serving.texts import LEAST_TOKENS, STEP_TEXTS, STEP_TOKENS, Queued, room_after
from tests.embedders import WIDTH, build_embedder

TEXTS = ["turn on the light", "switch off the fan in the living room", "客厅"]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    prompts = {"query": "ask: ", "document": "say: "}
    base = build_embedder(tmp_path_factory.mktemp("bases") / "embeds", prompts=prompts)
    told = {"digest": "sha256:e", "family": "embedding"}
    (base / "base.json").write_text(json.dumps(told))
    return base


@pytest.fixture(scope="module")
def base(folder: Path) -> EmbeddingBase:
    return embedding(load_base(folder, "sha256:e", "fp32"))


@pytest.fixture(scope="module")
def adapter_files(folder: Path) -> tuple[bytes, dict[str, Any]]:
    adapted: Any = family("embedding").load(
        folder, AdapterSpec(r=4), precision="fp32", device="cpu", seed=1
    )
    with torch.no_grad():
        for parameter in adapted.parameters:
            parameter.add_(torch.sin(torch.arange(parameter.numel())).view_as(parameter) * 0.1)
    return save(adapted.adapter_state()), adapted.adapter_config("b")


def asked(folder: Path, **fields: Any) -> EmbedRequest:
    told = {"tenant": "t", "base_path": str(folder), "base_digest": "sha256:e", "inputs": TEXTS}
    return EmbedRequest.model_validate(told | fields)


def vectors(found: Embedded) -> np.ndarray[Any, Any]:
    return np.stack([np.frombuffer(base64.b64decode(each), "<f4") for each in found.vectors])


async def _with_server(folder: Path, work: Any) -> Any:
    store = ModelStore(max_bases=2, adapter_bytes=1 << 24, precision="fp32")
    path = folder.parent / "s.sock"
    async with Server(store, Scheduler(Limits())).listening(path):
        return await work(ServingClient(path))


def test_many_at_once_are_each_alone(
    folder: Path, base: EmbeddingBase, adapter_files: tuple[bytes, dict[str, Any]]
) -> None:
    async def work(client: ServingClient) -> list[Embedded]:
        with pytest.raises(OurFault) as absent:
            await client.embed(asked(folder, adapter_digest="d"))
        assert absent.value.code == "adapter_not_loaded"
        await client.load_adapter(folder, "d", *adapter_files, tenant="t", base_digest="sha256:e")
        return await asyncio.gather(
            client.embed(asked(folder)),
            client.embed(asked(folder, adapter_digest="d")),
            client.embed(asked(folder, tenant="other", inputs=TEXTS * 100)),
            client.embed(asked(folder, side="query", dimensions=8)),
            client.embed(asked(folder, inputs=[TextEncoder(folder).encode(TEXTS[0], "text")])),
        )

    plain, tuned, many, cut, ids = asyncio.run(_with_server(folder, work))
    alone = [base.model.embed([base.encoder.encode(text, "text")], [None]) for text in TEXTS]
    expected = torch.cat(alone).numpy()
    assert np.abs(vectors(plain) - expected).max() < 1e-5
    assert np.abs(vectors(many) - np.tile(expected, (100, 1))).max() < 1e-5
    assert np.abs(vectors(ids) - expected[:1]).max() < 1e-5
    assert plain.prompt_tokens == sum(len(base.encoder.encode(text, "text")) for text in TEXTS)
    read = base.model.read_adapter(*adapter_files)
    with_adapter = base.model.embed([base.encoder.encode(TEXTS[1], "text")], [read]).numpy()
    assert np.abs(vectors(tuned)[1] - with_adapter[0]).max() < 1e-5
    assert np.abs(vectors(tuned) - expected).max() > 1e-3
    queries = torch.cat(
        [base.model.embed([base.encoder.encode(text, "query")], [None]) for text in TEXTS]
    )
    shorter = torch.nn.functional.normalize(queries[:, :8], dim=1).numpy()
    assert vectors(cut).shape == (3, 8)
    assert np.abs(vectors(cut) - shorter).max() < 1e-5


@pytest.mark.parametrize(
    ("fields", "code"),
    [
        ({"inputs": [""]}, "invalid_value"),
        ({"inputs": [[]]}, "invalid_value"),
        ({"inputs": [[5, 320]]}, "invalid_value"),
        ({"inputs": [[-1]]}, "invalid_value"),
        ({"inputs": ["light " * 200]}, "context_length_exceeded"),
        ({"inputs": [[5] * 65]}, "context_length_exceeded"),
        ({"dimensions": WIDTH + 1}, "invalid_value"),
    ],
)
def test_what_cannot_be_embedded_is_told(
    fields: dict[str, Any], code: str, folder: Path, base: EmbeddingBase
) -> None:
    with pytest.raises(UserFault) as fault:
        texts_of(base, asked(folder, **fields))
    assert fault.value.code == code
    assert fault.value.param in ("input", "dimensions")


def test_each_base_is_asked_for_what_it_does(folder: Path, tiny_base: Path) -> None:
    writes = load_base(tiny_base, "tiny", "fp32")
    with pytest.raises(UserFault) as fault:
        embedding(writes)
    assert fault.value.code == "model_writes"
    with pytest.raises(UserFault) as fault:
        writing(load_base(folder, "sha256:e", "fp32"))
    assert fault.value.code == "model_embeds"


def ticket(
    base: EmbeddingBase, folder: Path, tenant: str, count: int, told: list[Any]
) -> EmbeddingTicket:
    request = asked(folder, tenant=tenant, inputs=["x"] * count)
    return EmbeddingTicket(request, base, None, [[1, 5, 2]] * count, told.append)


def test_a_step_takes_some_of_every_tenant(base: EmbeddingBase, folder: Path) -> None:
    queue = Queued()
    many = ticket(base, folder, "many", 500, [])
    queue.join(many)
    queue.join(ticket(base, folder, "few", 2, []))
    first = queue.take()
    assert len(first) == STEP_TEXTS
    assert [each.request.tenant for each, _ in first].count("few") == 2
    assert queue.rows == {"many": 500 - STEP_TEXTS + 2}
    many.cancelled = True
    assert queue.take() == []
    assert not queue
    assert not +queue.rows


def test_long_texts_make_small_steps(base: EmbeddingBase, folder: Path) -> None:
    queue = Queued()
    request = asked(folder, inputs=["x"] * 8)
    queue.join(EmbeddingTicket(request, base, None, [[1] * 3000] * 8, lambda _: None))
    assert [len(queue.take()) for _ in range(4)] == [2, 2, 2, 2]


def test_one_request_of_thousands_leaves_the_queue_to_others(
    base: EmbeddingBase, folder: Path
) -> None:
    """Its texts took every place, and each other tenant was told that the server is too busy."""
    scheduler = Scheduler(Limits(), max_waiting=40, tenant_waiting=20, threads=1)  # never started
    scheduler.submit(ticket(base, folder, "many", MOST_INPUTS, []))
    with pytest.raises(UserFault) as full:
        scheduler.submit(ticket(base, folder, "many", 1, []))
    assert full.value.code == "too_many_waiting"
    for tenant in ("one", "another"):
        scheduler.submit(ticket(base, folder, tenant, 1, []))


@pytest.mark.parametrize(
    ("tokens", "seconds", "before", "room"),
    [
        (8192, 2.0, 8192, 1024),  # a slow processor: others wait a quarter of a second
        (256, 0.01, 256, 512),  # a fast one is found out step by step
        (8192, 0.001, 8192, STEP_TOKENS),
        (256, 100.0, 256, LEAST_TOKENS),
    ],
)
def test_a_step_is_as_large_as_a_quarter_of_a_second_allows(
    tokens: int, seconds: float, before: int, room: int
) -> None:
    assert room_after(tokens, seconds, before) == room


def test_a_vector_that_is_no_number_is_told(base: EmbeddingBase, folder: Path) -> None:
    told: list[Embedded | Fault] = []
    broken = ticket(base, folder, "t", 2, told)
    broken.deliver(0, torch.tensor([float("nan")]))
    broken.deliver(1, torch.tensor([1.0]))
    (fault,) = told
    assert isinstance(fault, OurFault)
    assert fault.code == "generation_failed"
