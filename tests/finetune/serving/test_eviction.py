"""What is in memory belongs to a tenant, and can be taken out of it by name."""

import asyncio
from pathlib import Path
from typing import Any

import pytest

from faults import Fault, UserFault
from finetune.serving.client import ServingClient
from finetune.serving.protocol import Evicted, GenerateRequest
from tests.fixtures.waiting import until_async

from .conftest import Start, ask, read_files, run


@pytest.fixture
def client(start: Start) -> ServingClient:
    """One answer is written at a time, so that those that are begun here go on for minutes: however
    long this process may not run, they are there to be evicted."""
    return start("--tenant-waiting", "1000", "--max-rows", "1").client


async def load(client: ServingClient, base: Path, adapter: Path, tenant: str, digest: str) -> None:
    files = read_files(adapter)
    await client.load_adapter(base, digest, *files, tenant=tenant, base_digest="tiny")


async def code_of(client: ServingClient, request: GenerateRequest) -> str | None:
    try:
        await client.collect(request)
    except Fault as error:
        return error.code
    return None


async def under_way(client: ServingClient, requests: int) -> None:
    """Until so many requests are being answered: an evicted one's choices may still be counted."""

    async def arrived() -> bool:
        return (await client.status()).bases[0].requests == requests

    await until_async(arrived, "the requests did not arrive")


def test_memory_is_by_tenant_and_is_given_up_by_name(
    client: ServingClient, tiny_base: Path, adapter_folders: dict[str, Path]
) -> None:
    def request(tenant: str, digest: str | None, **fields: Any) -> GenerateRequest:
        where = {"base_path": str(tiny_base), "adapter_digest": digest}
        return ask(tenant=tenant, **where, **fields)

    async def story() -> None:
        for tenant, digest in (("a", "one"), ("a", "two"), ("b", "one")):
            await load(client, tiny_base, adapter_folders["lora"], tenant, digest)
        # another tenant's digest names nothing, though its bytes are here
        assert await code_of(client, request("b", "two")) == "adapter_not_loaded"
        assert not await client.has_adapter("b", "tiny", "two")

        long = {"max_tokens": None, "temperature": 1.0, "n": 128}
        ending = asyncio.create_task(client.collect(request("a", "one", **long)))
        await under_way(client, 1)
        staying = asyncio.create_task(client.collect(request("a", "two", **long)))
        await under_way(client, 2)
        neighbour = client.generate(request("b", "one", **long))
        await anext(neighbour)

        evicted = await client.evict("a", adapter_digest="one")
        assert evicted == Evicted(adapters=1, answers=1)
        with pytest.raises(UserFault) as ended:
            await ending
        assert ended.value.code == "model_evicted"
        assert await code_of(client, request("a", "one")) == "adapter_not_loaded"
        assert await client.has_adapter("b", "tiny", "one")

        base_answer = asyncio.create_task(client.collect(request("a", None, **long)))
        await under_way(client, 3)
        assert await client.evict("a") == Evicted(adapters=1, answers=2)
        for task in (staying, base_answer):
            with pytest.raises(UserFault):
                await task
        [base] = (await client.status()).bases
        assert [(each.tenant, each.digest) for each in base.adapters] == [("b", "one")]
        assert base.tenants == ["b"]
        await anext(neighbour)
        await neighbour.aclose()

    run(story())


def test_an_eviction_of_one_base_leaves_the_others(
    client: ServingClient, tiny_base: Path, adapter_folders: dict[str, Path]
) -> None:
    async def story() -> None:
        await load(client, tiny_base, adapter_folders["lora"], "a", "one")
        assert await client.evict("a", base_digest="another") == Evicted(adapters=0, answers=0)
        assert await client.evict("a", base_digest="tiny") == Evicted(adapters=1, answers=0)
        assert not await client.has_adapter("a", "tiny", "one")

    run(story())


def test_evicting_where_nothing_is_held_is_no_error(client: ServingClient) -> None:
    assert run(client.evict("nobody")) == Evicted(adapters=0, answers=0)


def test_a_call_without_a_tenant_is_refused() -> None:
    with pytest.raises(ValueError, match="tenant"):
        GenerateRequest.model_validate(
            {
                "base_path": "-",
                "base_digest": "tiny",
                "messages": [{"role": "user", "content": "x"}],
            }
        )
