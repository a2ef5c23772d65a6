"""/v1/fine_tuning/alpha/graders by the unmodified openai client, with a real judging model."""

import asyncio
from functools import partial
from threading import Event
from typing import Any
from uuid import uuid4

import pytest
from openai import BadRequestError, NotFoundError, PermissionDeniedError
from pydantic import TypeAdapter

from finetune.grading import specs
from finetune.grading.python_grader import Ran
from finetune.services.models import graders
from tenants.access import Principal
from tenants.actor import Actor, ActorKind
from tenants.roles import Role, Scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, new_customer, shelve

EXACT: Any = {
    "type": "string_check", "name": "exact", "operation": "eq",
    "input": "{{ sample.output_text }}", "reference": "{{ item.city }}",
}  # fmt: skip
PYTHON: Any = {
    "type": "python", "name": "length", "image_tag": "2025-05-08",
    "source": "def grade(sample, item):\n    return len(sample['output_text'])\n",
}  # fmt: skip
JUDGE: Any = {
    "type": "score_model", "name": "judge", "model": TINY, "range": [1, 5],
    "input": [{"role": "user", "content": "Rate {{ sample.output_text }} for {{ item.city }}."}],
    "sampling_params": {"seed": 7, "temperature": 1.0},
}  # fmt: skip


def run(customer: Customer, grader: Any, answer: str = "Paris") -> Any:
    alpha = customer.client().fine_tuning.alpha.graders
    return alpha.run(grader=grader, model_sample=answer, item={"city": "Paris"})


def test_each_kind_is_run_and_validated(customer: Customer, model_server: None) -> None:
    assert run(customer, EXACT).reward == 1
    assert run(customer, EXACT, "Rome").reward == 0
    assert run(customer, PYTHON).reward == 5
    judged = run(customer, JUDGE)
    assert 1 <= judged.reward <= 5
    assert judged.metadata.sampled_model_name == TINY
    assert judged.metadata.token_usage > 0
    multi: Any = {"type": "multi", "name": "all", "calculate_output": "exact + length / 10",
                  "graders": {"exact": EXACT, "length": PYTHON}}  # fmt: skip
    told = run(customer, multi)
    assert (told.reward, told.sub_rewards) == (1.5, {"exact": 1.0, "length": 5.0})
    assert not any(value for key, value in told.metadata.errors if key.endswith("_error"))
    for grader in (EXACT, PYTHON, JUDGE, multi):
        same = customer.client().fine_tuning.alpha.graders.validate(grader=grader)
        assert same.grader is not None
        assert same.grader.name == grader["name"]


def test_failures_of_a_grader_are_results_and_those_of_a_request_are_errors(
    customer: Customer,
) -> None:
    broken = run(customer, PYTHON | {"source": "def grade(sample, item):\n    return item['x']\n"})
    assert broken.reward == 0
    assert broken.metadata.errors.python_grader_runtime_error
    assert "KeyError: 'x' (line 2)" in broken.metadata.errors.python_grader_runtime_error_details
    for grader, param in (
        (EXACT | {"operation": "same"}, "grader.operation"),
        (EXACT | {"reference": "{{ 1+1 }}"}, "grader.reference"),
        (PYTHON | {"source": "grade = 1"}, "grader.source"),
        ({"type": "essay", "name": "x"}, "grader"),
    ):
        with pytest.raises(BadRequestError) as refused:
            run(customer, grader)
        assert refused.value.param == param, refused.value.message


def test_a_judge_needs_the_callers_own_licence_and_a_key_the_scope(
    customer: Customer, base_url: str, model_server: None
) -> None:
    with pytest.raises(NotFoundError):
        run(customer, JUDGE | {"model": "ft:somebody:else"})
    shelve("unlicensed-judge")
    with pytest.raises(PermissionDeniedError):
        run(customer, JUDGE | {"model": "unlicensed-judge"})
    blind = new_customer(base_url, models=[TINY], scopes=[Scope.FILES_READ.value])
    with pytest.raises(PermissionDeniedError, match="infer"):
        run(blind, EXACT)


def test_one_tenants_graders_leave_places_to_others() -> None:
    one, other, third = uuid4(), uuid4(), uuid4()
    places = graders.Places(2, 1, "full")
    places.take(one)
    with pytest.raises(graders.GraderBusy):
        places.take(one)
    places.take(other)
    with pytest.raises(graders.GraderBusy):
        places.take(third)
    places.give(one)
    places.take(third)


@pytest.fixture
def held_code(monkeypatch: pytest.MonkeyPatch) -> tuple[Event, Event]:
    """A grader's code: it has begun; it may end."""
    ran, end = Event(), Event()

    def slow(*_: Any, **__: Any) -> Ran:
        ran.set()
        end.wait()
        return Ran(score=1.0)

    monkeypatch.setattr(graders, "run_python", slow)
    return ran, end


def test_who_leaves_keeps_the_turn_until_the_code_has_ended(
    held_code: tuple[Event, Event],
) -> None:
    ran, end = held_code
    by = Principal(uuid4(), Actor("test", ActorKind.KEY), frozenset({Scope.INFER}), Role.ENGINEER)
    part = TypeAdapter(specs.Grader).validate_python(PYTHON)
    run = partial(graders.run_grader, spec=part, sample="", item={}, targets={}, by=by,
                  still=lambda: None)  # fmt: skip

    async def leave_and_come_again() -> None:
        first = asyncio.create_task(run())
        await asyncio.to_thread(ran.wait)
        first.cancel()
        with pytest.raises(asyncio.CancelledError):
            await first
        with pytest.raises(graders.GraderBusy):
            await run()
        end.set()
        while by.tenant_id in graders._PYTHONS._held:
            await asyncio.sleep(0.01)
        assert (await run()).reward == 1.0

    asyncio.run(leave_and_come_again())


def test_a_worker_that_ends_its_loop_gives_the_turn_back_when_the_code_has_ended(
    held_code: tuple[Event, Event],
) -> None:
    ran, end = held_code
    by = Principal(uuid4(), Actor("test", ActorKind.KEY), frozenset({Scope.INFER}), Role.ENGINEER)
    part = TypeAdapter(specs.Grader).validate_python(PYTHON)

    async def leave() -> None:
        asked = asyncio.create_task(
            graders.run_grader(spec=part, sample="", item={}, targets={}, by=by, still=lambda: None)
        )
        await asyncio.to_thread(ran.wait)
        asked.cancel()

    asyncio.run(leave())
    assert by.tenant_id in graders._PYTHONS._held, "the code still runs"
    end.set()
    moved = Event()
    while by.tenant_id in graders._PYTHONS._held or by.tenant_id in graders._GRADERS._held:
        moved.wait(0.01)
