"""Scores from the serving process: of several tenants' reward models on one base at once, as they
were in training; what cannot be scored is told, and a reward model writes nothing."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faults import Fault
from finetune.serving.client import ServingClient
from finetune.serving.lane import Limits
from finetune.serving.protocol import CostLimits, GenerateRequest, ScoreRequest
from finetune.serving.scheduler import Scheduler
from finetune.serving.server import Server
from finetune.serving.store import ModelStore
from tests.rewarders import made, score_of

PROMPT = {"role": "user", "content": "turn on 客厅"}
TALKS = [
    [PROMPT, {"role": "assistant", "content": "it is on"}],
    [PROMPT, {"role": "assistant", "content": "it is on now, and so is the fan"}],
    [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "no"}],
]


def asked(folder: Path, **fields: Any) -> ScoreRequest:
    told = [{"messages": talk} for talk in TALKS]
    return ScoreRequest.model_validate(
        {"tenant": "t", "base_path": str(folder), "base_digest": "tiny", "adapter_digest": "one",
         "conversations": told, **fields}
    )  # fmt: skip


def test_several_tenants_are_scored_at_once_as_in_training(tiny_base: Path, tmp_path: Path) -> None:
    one, other = made(tiny_base, 1), made(tiny_base, 2)

    async def refused(ask: Any) -> str:
        with pytest.raises(Fault) as fault:
            await ask
        return fault.value.code

    async def work(client: ServingClient) -> Any:
        assert await refused(client.score(asked(tiny_base))) == "adapter_not_loaded"
        unsent = await client.measure([asked(tiny_base)])
        told: dict[str, Any] = {"base_digest": "tiny", "base_path": tiny_base}
        for digest, tenant, (_, weights, config) in (("one", "t", one), ("two", "u", other)):
            await client.load_adapter(
                digest=digest, safetensors=weights, config=config, tenant=tenant, **told
            )
        found = await asyncio.gather(
            client.score(asked(tiny_base)),
            client.score(asked(tiny_base, tenant="u", adapter_digest="two")),
        )
        cost = await client.measure([asked(tiny_base)])
        assert cost.tokens == unsent.tokens == found[0].prompt_tokens > 0
        written = GenerateRequest(tenant="t", base_path=str(tiny_base), base_digest="tiny",
                                  adapter_digest="one", messages=[PROMPT])  # fmt: skip
        assert await refused(client.collect(written)) == "model_scores"
        plain = {k: v for k, v in one[2].items() if k != "modules_to_save"}
        assert await refused(client.load_adapter(
            digest="x", safetensors=one[1], config=plain, tenant="t", **told
        )) == "adapter_unsupported"  # fmt: skip
        few = CostLimits(tokens=1, logprobs=1)
        assert await refused(client.score(asked(tiny_base, limits=few))) == "request_too_costly"
        for content, code in (("a " * 4000, "context_length_exceeded"), (5, "invalid_prompt")):
            talk = [{"messages": [{"role": "user", "content": content}, TALKS[0][1]]}]
            assert await refused(client.score(asked(tiny_base, conversations=talk))) == code
        return found

    async def served() -> Any:
        store = ModelStore(max_bases=2, adapter_bytes=1 << 24, precision="fp32")
        async with Server(store, Scheduler(Limits())).listening(tmp_path / "s"):
            return await work(ServingClient(tmp_path / "s"))

    for (model, _, _), found in zip((one, other), asyncio.run(served()), strict=True):
        assert found.scores == pytest.approx(
            [score_of(model, tiny_base, *talk) for talk in TALKS], abs=1e-4
        )
