"""What one tenant may use of inference, over HTTP against the real serving process: its cost, its
turns, the web's memory, and how soon an ended right ends an answer."""

import asyncio
import threading
import time
from collections.abc import AsyncGenerator, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import aclosing
from dataclasses import replace
from typing import Any

import psutil
import pytest
from django.conf import settings
from openai import APIError, BadRequestError, NotFoundError, PermissionDeniedError, RateLimitError

from finetune.models import CatalogModel
from finetune.services.models import eviction, gateway, tokens
from finetune.serving.client import ServingClient
from finetune.serving.protocol import Delta
from tenants.buckets import Buckets
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import ApiKey, License, LicenseState, Tenant
from tenants.services.licences import change_license
from tenants.services.limits import change_limits
from tests.finetune.api.conftest import PATIENT, STILL, TINY, serving_http
from tests.finetune.api.customers import Customer, new_customer
from tests.finetune.api.test_chat import LONG, adapter, ask, running, status, tuned
from tests.fixtures.principals import somebody
from tests.fixtures.waiting import until

__all__ = ["adapter", "tuned"]  # fixtures

FLOOD = {"model": TINY, "prompt": "turn", "n": 128, "max_tokens": 490, "temperature": 1}
CONTEXT = 512  # tokens, of the tiny base


@pytest.fixture(autouse=True)
def quiet(model_server: None) -> Iterator[None]:
    yield
    until(lambda: running() == 0, "the model server did not come to rest")


class Flood:
    """72 requests of n=128, sent again until the block ends; then all hang up."""

    def __init__(self, customer: Customer) -> None:
        self._customer = customer
        self._over = threading.Event()
        self.statuses: list[int] = []
        self.waits: set[str | None] = set()  # of those turned away

    def __enter__(self) -> "Flood":
        self._pool = ThreadPoolExecutor(72)
        for _ in range(72):
            self._pool.submit(self._send)
        until(lambda: status().bases[0].waiting >= 128, "no flood came")
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._pool.shutdown()

    def _send(self) -> None:
        with self._customer.http() as http:
            while not self._over.is_set():
                with http.stream("POST", "/v1/completions", json=FLOOD | {"stream": True}) as got:
                    self.statuses.append(got.status_code)
                    if got.status_code == 429:
                        self.waits.add(got.headers.get("retry-after"))
                    for _ in got.iter_raw():
                        if self._over.is_set():
                            return
                time.sleep(0.2)


def test_a_flood_of_one_tenant_leaves_another_its_turn(customer: Customer) -> None:
    other = new_customer(customer.base_url, models=[TINY])
    ask(other.client(), TINY, max_tokens=1)  # the base is loaded
    with Flood(customer) as flood:
        for _ in range(3):
            assert ask(other.client(), TINY, max_tokens=1).choices
        until(lambda: 429 in flood.statuses, "nobody was turned away")
        taken = [behind_the_flood(other) for _ in range(5)]
        assert set(flood.statuses) <= {200, 429}
        assert flood.waits == {"1"}
        held = status().bases[0].waiting
    assert held <= 256 + 128
    # Behind those who waited before it, 128 answers of 490 tokens on 32 rows, it would have taken
    # 1,960 turns. The best of five, because turns go on while this process does not run.
    assert min(taken) <= 100
    until(lambda: running() == 0, "who hung up is still answered")


def behind_the_flood(customer: Customer) -> int:
    """The turns of an answer before and after which the flood was there."""
    taken: list[int] = []

    def waiting() -> bool:
        return status().bases[0].waiting >= 64

    def meanwhile() -> bool:
        taken.append(asyncio.run(turns_for_one_token(customer)))
        return waiting()

    until(lambda: waiting() and meanwhile(), "the flood had ended")
    return taken[-1]


async def turns_for_one_token(customer: Customer) -> int:
    """Asked at the socket as the gateway asks, so that the web's own time is not counted."""
    client = ServingClient(settings.SERVING_SOCKET)
    target = await gateway._in_scope(_any_target(customer), lambda: gateway.resolve(name=TINY))
    request = gateway._request(target, {"prompt": "turn", "max_tokens": 1})
    before = (await client.status()).turns
    await client.collect(request)
    return (await client.status()).turns - before


def too_costly(customer: Customer, **asked: Any) -> str:
    given: dict[str, Any] = {"model": TINY, "prompt": [5] * 100, "max_tokens": 1} | asked
    with pytest.raises(BadRequestError) as refused:
        customer.client().completions.create(**given)
    assert refused.value.code == "request_too_costly"
    assert refused.value.response.headers["x-should-retry"] == "false"
    return str(refused.value)


def test_a_request_beyond_its_cost_is_refused_with_the_numbers(customer: Customer) -> None:
    limit = settings.INFER_MAX_TOKENS
    whole = 64 * 128 * (100 + 1)
    told = too_costly(customer, prompt=[[5] * 100] * 64, n=128)
    assert f"{whole} tokens" in told
    assert f"{limit} are allowed" in told
    told = too_costly(customer, n=128, echo=True, logprobs=5)
    assert f"{128 * 101 * 6} log-probabilities" in told
    told = too_costly(customer, prompt=[[5] * 100] * 64, n=2, echo=True, logprobs=5)
    assert f"{64 * 2 * 101 * 6} log-probabilities" in told
    assert running() == 0


def test_tokens_a_minute_are_taken_at_the_start_told_and_given_back_at_the_end(
    committed: None, tiny_model: str
) -> None:
    with serving_http(STILL) as (url, _):
        tokens_are_counted(new_customer(url, models=[tiny_model]))


def tokens_are_counted(customer: Customer) -> None:
    limit = 6000
    change_limits(tenant_id=customer.tenant_id, changes={"tokens": limit}, actor="test")
    client = customer.client()
    hello: Any = [{"role": "user", "content": "Say 3."}]
    raw = client.chat.completions.with_raw_response.create(
        model=TINY, messages=hello, max_tokens=400, stop=["e", "t", "a", " "], seed=1
    )
    used = raw.parse().usage
    assert used is not None
    taken = limit - int(raw.headers["x-ratelimit-remaining-tokens"])
    assert raw.headers["x-ratelimit-limit-tokens"] == str(limit)
    assert taken == used.prompt_tokens + 400 > used.total_tokens, "as long as it might have been"
    assert raw.headers["x-ratelimit-reset-tokens"].endswith("s")

    with pytest.raises(RateLimitError) as large:
        client.completions.create(model=TINY, prompt="a", n=16, max_tokens=400)
    assert (large.value.code, large.value.type) == ("rate_limit_exceeded", "tokens")
    assert large.value.response.headers["x-should-retry"] == "false"
    assert f"limit of your organisation is {limit} tokens" in large.value.message

    def leave_again_and_again() -> None:
        body: Any = {"model": TINY, "prompt": "a", "n": 13, "max_tokens": 400}
        for _ in range(100):  # whoever leaves gives nothing back
            client.completions.create(**body, stream=True).close()

    with pytest.raises(RateLimitError) as refused:
        leave_again_and_again()
    assert (refused.value.code, refused.value.type) == ("rate_limit_exceeded", "tokens")
    headers = refused.value.response.headers
    assert 1 <= int(headers["retry-after"]) <= 60
    assert int(headers["x-ratelimit-remaining-tokens"]) < 13 * 401
    assert "x-ratelimit-remaining-requests" in headers
    assert ask(new_customer(customer.base_url, models=[TINY]).client(), TINY), "another's is full"


def test_what_an_answer_did_not_need_goes_back_when_it_is_complete_or_never_began(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In process, with a clock that stands still: nothing comes back but what is given back."""
    monkeypatch.setattr(tokens, "_TENANTS", Buckets(1, 60, clock=lambda: 0.0))
    name, limit = str(customer.tenant_id), 10_000

    def left() -> float:
        return tokens._TENANTS.look(name, limit=limit).left

    def refuse() -> None:
        raise Refused("access_ended", "It has ended.")

    async def scene() -> None:
        found = await gateway._in_scope(_any_target(customer), lambda: gateway.resolve(name=TINY))
        target = replace(found, tokens_per_minute=limit)
        short = [{"prompt": "turn", "max_tokens": 300, "stop": ["e", "t", "a", " "], "seed": 1}]
        reserved = await reserve(target, 2 * short)
        before, spent = left(), 0
        for generation in 2 * short:
            deltas = answering(target, generation, reserved)
            usages = [delta.usage async for delta in deltas if delta.usage]
            spent += usages[0].prompt_tokens + usages[0].completion_tokens
        assert before <= limit - 600 < left() == limit - spent

        now, generation = left(), {"prompt": "turn", "max_tokens": 300}
        reserved = await reserve(target, [generation])
        with pytest.raises(Refused):
            await anext(answering(target, generation, reserved, still=refuse))
        assert left() == now
        reserved = await reserve(target, [generation])
        deltas = answering(target, generation, reserved)
        async with aclosing(deltas):
            await anext(deltas)
        assert left() < now - 300, "its reader left"

    asyncio.run(scene())


def test_the_webs_memory_stays_when_all_that_is_allowed_is_asked_for(
    customer: Customer, server: tuple[str, int]
) -> None:
    def memory() -> int:
        web = psutil.Process(server[1])
        return sum(p.memory_info().rss for p in [web, *web.children(recursive=True)]) >> 20

    def largest() -> int:
        """Echo and alternatives up to the limit; beyond it nothing is begun."""
        prompt = [5 + i % 50 for i in range(CONTEXT - 2)]
        n = settings.INFER_MAX_LOGPROBS // ((CONTEXT - 1) * 6)
        answer = customer.client().completions.create(
            model=TINY, prompt=prompt, n=n, echo=True, logprobs=5, max_tokens=1
        )
        assert len(answer.choices) == n
        logprobs = answer.choices[0].logprobs
        assert logprobs is not None
        return len(logprobs.tokens or [])

    assert largest() >= CONTEXT - 2
    before, peak, over = memory(), 0, threading.Event()

    def watch() -> None:
        nonlocal peak
        while not over.wait(0.01):
            peak = max(peak, memory())

    watcher = threading.Thread(target=watch)
    watcher.start()
    with ThreadPoolExecutor(8) as pool:
        list(pool.map(lambda _: largest(), range(8)))
    over.set()
    watcher.join()
    print(f"web process: {before} MB before, {peak} MB at most")
    # 30 seen. Answers of 128 choices, which the limit on log-probabilities keeps from being made,
    # would take eight times that.
    assert peak - before < 200


def revoke(customer: Customer) -> None:
    with tenant_scope(customer.tenant_id):
        licence = License.objects.get(model=TINY)
    change_license(
        tenant_id=customer.tenant_id,
        license_id=licence.id,
        actor="test",
        state=LicenseState.REVOKED,
    )


def residents() -> list[str]:
    return [each.tenant for base in status().bases for each in base.adapters]


def test_a_deleted_model_is_out_of_memory_and_its_answer_ends(
    customer: Customer, tuned: str
) -> None:
    client = customer.client()
    stream = ask(client, tuned, **LONG, stream=True)  # more than the sockets between us hold
    next(iter(stream))
    assert str(customer.tenant_id) in residents()
    client.models.delete(tuned)
    assert str(customer.tenant_id) not in residents()
    with pytest.raises(APIError) as ended:
        for _ in stream:
            pass
    assert ended.value.code == "model_evicted"
    with pytest.raises(NotFoundError):
        ask(client, tuned)


def test_a_revoked_licence_reaches_memory_and_what_is_being_answered(
    customer: Customer, tuned: str
) -> None:
    client = customer.client()
    ask(client, tuned)
    stream = ask(client, TINY, **LONG, stream=True)
    next(iter(stream))
    revoke(customer)
    assert str(customer.tenant_id) not in residents()
    with pytest.raises(APIError) as ended:
        for _ in stream:
            pass
    assert ended.value.code == "model_evicted"
    for model in (TINY, tuned):
        with pytest.raises(PermissionDeniedError):
            ask(client, model)


def test_a_shredded_tenants_model_answers_no_more(customer: Customer, tuned: str) -> None:
    ask(customer.client(), tuned)
    with tenant_scope(customer.tenant_id):
        Tenant.objects.filter(id=customer.tenant_id).update(wrapped_key=None)
    assert eviction.evict(tenant_id=customer.tenant_id)
    assert str(customer.tenant_id) not in residents()
    with customer.http() as http:
        body = {"model": tuned, "messages": [{"role": "user", "content": "x"}]}
        assert http.post("/v1/chat/completions", json=body).status_code in (401, 403, 404, 410)
    assert str(customer.tenant_id) not in residents()


def test_the_sweep_catches_up_with_an_eviction_that_was_missed(
    customer: Customer, tuned: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask(customer.client(), tuned)
    eviction.reconcile()
    assert str(customer.tenant_id) in residents()
    socket = settings.SERVING_SOCKET
    monkeypatch.setattr(settings, "SERVING_SOCKET", socket.with_name("nobody.sock"))
    revoke(customer)  # nobody answers, which is no error
    assert not eviction.evict(tenant_id=customer.tenant_id)
    eviction.reconcile()
    monkeypatch.setattr(settings, "SERVING_SOCKET", socket)
    assert str(customer.tenant_id) in residents()
    eviction.reconcile()
    assert str(customer.tenant_id) not in residents()
    assert CatalogModel.objects.filter(name=TINY).exists()


def test_an_answer_that_goes_on_ends_soon_after_its_key(committed: None, tiny_model: str) -> None:
    # at every piece and not by the clock: a fast machine has answered within seconds
    with serving_http(PATIENT, PRIVATUNE_ASK_AGAIN_SECONDS="0") as (url, _):
        end_the_key_of(new_customer(url, models=[TINY]))
        end_the_key_of_who_waits(new_customer(url, models=[TINY]))


def end_the_key_of(customer: Customer) -> None:
    ask(customer.client(), TINY)
    body = FLOOD | {"stream": True}
    with customer.http() as http, http.stream("POST", "/v1/completions", json=body) as got:
        lines = got.iter_lines()
        next(lines)
        with tenant_scope(customer.tenant_id):
            ApiKey.objects.update(revoked_at="2020-01-01T00:00:00Z")
        said = [line for line in lines if "error" in line]
    assert "invalid_api_key" in said[-1]


def end_the_key_of_who_waits(customer: Customer) -> None:
    """The model server stands still, so that no token ever comes."""
    body = FLOOD | {"stream": True}
    process = psutil.Process(status().pid)
    process.suspend()
    try:
        with customer.http() as http:
            http.timeout = None
            with http.stream("POST", "/v1/completions", json=body) as got:
                lines = got.iter_lines()
                assert next(lines).startswith(":")
                with tenant_scope(customer.tenant_id):
                    ApiKey.objects.update(revoked_at="2020-01-01T00:00:00Z")
                said = [line for line in lines if "error" in line]
    finally:
        process.resume()
    assert "invalid_api_key" in said[-1]


def test_what_is_asked_again_is_asked_of_the_rows(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In process: a licence that ends by its date, of which nobody is told, ends the answer too."""
    monkeypatch.setattr(settings, "ASK_AGAIN_SECONDS", 0)
    seen: list[str] = []

    async def answer() -> None:
        target = await gateway._in_scope(_any_target(customer), lambda: gateway.resolve(name=TINY))
        generation = {"prompt": "turn", "max_tokens": 400, "temperature": 1.0, "n": 32}
        reserved = await reserve(target, [generation])
        async for delta in answering(target, generation, reserved):
            seen.append(delta.text)
            if len(seen) == 3:
                await gateway._in_scope(target, expire)

    def expire() -> None:
        License.objects.update(valid_until="2020-01-01T00:00:00Z")

    with pytest.raises(Exception, match="expired, its last day was 2019-12-31"):
        asyncio.run(answer())
    assert len(seen) == 3


async def reserve(target: gateway.Target, generations: list[Any]) -> tokens.Reservation:
    return await gateway.reserve(
        target=target, generations=generations, by=somebody(target.tenant_id)
    )


def answering(
    target: gateway.Target,
    generation: dict[str, Any],
    reserved: tokens.Reservation,
    still: gateway.Still = lambda: None,
) -> AsyncGenerator[Delta, None]:
    return gateway.generate(
        target=target,
        generation=generation,
        reserved=reserved,
        by=somebody(target.tenant_id),
        still=still,
    )


def _any_target(customer: Customer) -> gateway.Target:
    from pathlib import Path

    return gateway.Target(customer.tenant_id, TINY, Path(), "", 0, None, None, 1)
