"""Nobody takes the model away from another: rows, memory and slow reading are shared by tenant."""

from collections import Counter
from typing import Any

import pytest

from faults import Fault, OurFault, UserFault
from finetune.serving.bases import Base
from finetune.serving.costs import check_cost, cost_of
from finetune.serving.lane import Lane, Limits
from finetune.serving.protocol import CostLimits, Delta
from finetune.serving.scheduler import Scheduler
from finetune.serving.ticket import Ticket, encode_prompt

from .conftest import ask


class Bench:
    """A lane that is stepped by hand, so that waiting is counted in steps."""

    def __init__(self, base: Base, **limits: Any) -> None:
        self.base = base
        self.lane = Lane(base, Limits(**limits))
        self.errors: list[Fault] = []

    def submit(self, tenant: str, **fields: Any) -> Ticket:
        request = ask(tenant=tenant, **({"temperature": 1.0, "seed": 1} | fields))

        def emit(item: Delta | Fault) -> None:
            if isinstance(item, Fault):
                self.errors.append(item)

        ticket = Ticket(request, self.base, None, encode_prompt(self.base, request), emit)
        self.lane.add(ticket)
        return ticket

    def steps_until_done(self, ticket: Ticket, most: int = 2000) -> int:
        for step in range(1, most + 1):
            self.lane.step()
            if ticket.done:
                assert not self.errors
                return step
        raise AssertionError(f"not done after {most} steps")

    def rows(self) -> Counter[str]:
        return self.lane._held()


@pytest.fixture
def endless(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that end at their length alone, so that a flood lasts."""
    monkeypatch.setattr(base, "stop_ids", frozenset())


def test_a_flood_does_not_hold_up_another_tenants_single_token(base: Base, endless: None) -> None:
    bench = Bench(base)
    for seed in range(72):
        bench.submit("flood", n=128, max_tokens=400, seed=seed)
    for _ in range(40):
        bench.lane.step()
    assert bench.rows() == {"flood": 32}
    assert bench.steps_until_done(bench.submit("other", max_tokens=1)) <= 2
    assert bench.steps_until_done(bench.submit("other", max_tokens=20)) <= 22


def test_rows_are_shared_evenly_and_one_alone_has_all(base: Base, endless: None) -> None:
    bench = Bench(base)
    bench.submit("a", n=128, max_tokens=400)
    bench.lane.step()
    assert bench.rows() == {"a": 32}
    second = bench.submit("b", n=128, max_tokens=300)
    bench.lane.step()
    assert bench.rows() == {"a": 16, "b": 16}
    bench.submit("c", n=5, max_tokens=300)
    bench.lane.step()
    assert bench.rows()["c"] == 5
    assert abs(bench.rows()["a"] - bench.rows()["b"]) <= 1
    second.cancelled = True
    for _ in range(3):
        bench.lane.step()
    assert bench.rows() == {"a": 27, "c": 5}


def test_who_put_rows_off_writes_in_the_end_what_it_would_have_written(
    base: Base, endless: None
) -> None:
    fields: dict[str, Any] = {"n": 6, "max_tokens": 60, "prompt": "turn on", "echo": True}
    alone = Bench(base, rows=6)
    expected = alone.submit("a", **fields)
    alone.steps_until_done(expected)
    bench = Bench(base, rows=6)
    disturbed = bench.submit("a", **fields)
    for step in range(60):
        if step % 7 == 3:
            bench.submit(f"t{step}", n=4, max_tokens=9, seed=step)
        bench.lane.step()
    bench.steps_until_done(disturbed)
    assert [c.ids for c in disturbed.choices] == [c.ids for c in expected.choices]


def test_reading_scored_prompts_does_not_stop_another_tenant(base: Base, endless: None) -> None:
    bench = Bench(base)
    for seed in range(20):
        bench.submit("slow", prompt=[5] * 480, echo=True, logprobs=True, max_tokens=1, seed=seed)
    bench.lane.step()
    assert bench.steps_until_done(bench.submit("other", max_tokens=1)) <= 3
    scored = bench.submit("other", prompt="turn on", echo=True, logprobs=True, max_tokens=1)
    assert bench.steps_until_done(scored) <= 3


def test_memory_held_by_one_tenant_is_given_up_for_another(base: Base, endless: None) -> None:
    bench = Bench(base, kv_bytes=3000 * base.model.kv_bytes_per_token)
    for seed in range(8):
        bench.submit("long", prompt=[5] * 400, max_tokens=100, seed=seed)
    for _ in range(10):
        bench.lane.step()
    assert bench.rows()["long"] >= 4
    assert bench.steps_until_done(bench.submit("other", max_tokens=1)) <= 2


def test_between_equals_the_one_served_least_comes_first(base: Base, endless: None) -> None:
    bench = Bench(base, rows=1)
    order: list[str] = []
    waiting = [bench.submit("a", max_tokens=30, seed=seed) for seed in range(3)]
    waiting += [bench.submit("b", max_tokens=5, seed=seed) for seed in range(6)]
    while waiting:
        bench.lane.step()
        for ticket in [ticket for ticket in waiting if ticket.done]:
            order.append(ticket.request.tenant)
            waiting.remove(ticket)
    assert order[:3] == ["a", "b", "b"]  # by tokens: prompts are read for both


def test_idleness_saves_nothing_up(base: Base, endless: None) -> None:
    bench = Bench(base, rows=1)
    for seed in range(4):
        bench.submit("busy", max_tokens=50, seed=seed)
    for _ in range(120):
        bench.lane.step()
    for seed in range(4):
        bench.submit("late", max_tokens=50, seed=seed)
    assert bench.lane.waiting._worked["late"] >= 100


def test_hanging_up_frees_the_rows_at_the_next_step(base: Base, endless: None) -> None:
    bench = Bench(base)
    tickets = [bench.submit("flood", n=128, max_tokens=400) for _ in range(3)]
    bench.lane.step()
    for ticket in tickets:
        ticket.cancelled = True
    bench.lane.step()
    assert bench.lane.idle
    assert bench.lane.waiting.rows.total() == 0


def test_waiting_is_bounded_by_tenant_and_in_all(base: Base) -> None:
    scheduler = Scheduler(Limits(), max_waiting=40, tenant_waiting=20, threads=1)

    def submit(tenant: str) -> None:
        request = ask(tenant=tenant, n=10)
        prompt = encode_prompt(base, request)
        scheduler.submit(Ticket(request, base, None, prompt, lambda item: None))

    for _ in range(2):
        submit("a")
    with pytest.raises(UserFault) as too_many:
        submit("a")
    assert too_many.value.code == "too_many_waiting"
    for tenant in ("b", "c"):
        submit(tenant)
    with pytest.raises(OurFault) as full:
        submit("d")
    assert full.value.code == "overloaded"


def test_megabytes_are_refused_before_they_are_put_into_tokens(
    base: Base, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(type(base.encoder), "encode_prompt", None)  # would fail if it were called
    monkeypatch.setattr(type(base.encoder), "render_prompt", None)
    text = "light " * 1_000_000
    for fields in ({"prompt": text}, {"messages": [{"role": "user", "content": text}]}):
        with pytest.raises(UserFault) as refused:
            encode_prompt(base, ask(**fields))
        assert refused.value.code == "context_length_exceeded"


@pytest.mark.parametrize(
    ("fields", "tokens", "logprobs"),
    [
        ({"n": 4, "max_tokens": 10}, 4 * (100 + 10), 0),
        ({"n": 2, "max_tokens": None}, 2 * 512, 0),
        ({"max_tokens": 10, "logprobs": True, "top_logprobs": 5}, 110, 10 * 6),
        (
            {"n": 32, "max_tokens": 1, "echo": True, "logprobs": True, "top_logprobs": 5},
            32 * 101,
            32 * 101 * 6,
        ),
        ({"n": 3, "max_tokens": 9999, "echo": True}, 3 * 512, 0),
    ],
)
def test_what_a_request_costs(fields: dict[str, Any], tokens: int, logprobs: int) -> None:
    cost = cost_of(ask(prompt=[5] * 100, **fields), 100, 512)
    assert (cost.tokens, cost.logprobs) == (tokens, logprobs)
    check_cost(cost, CostLimits(tokens=tokens, logprobs=max(1, logprobs)))
    with pytest.raises(UserFault, match=f"{tokens} tokens.*{tokens - 1} are allowed"):
        check_cost(cost, CostLimits(tokens=tokens - 1, logprobs=max(1, logprobs)))
    if logprobs:
        with pytest.raises(UserFault, match=f"{logprobs} log-probabilities") as refused:
            check_cost(cost, CostLimits(tokens=tokens, logprobs=logprobs - 1))
        assert refused.value.code == "request_too_costly"
