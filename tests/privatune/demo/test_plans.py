"""Which plan a machine gets: a pure function of what it was seen to do and of the time left."""

from itertools import pairwise

import pytest

from privatune.demo.commands import HELDOUT_ROWS, TRAIN_ROWS
from privatune.demo.plans import PLANS, NoSuchPlan, Plan, Speed, choose, forced, seconds

SPEEDS = (60, 100, 140, 168, 240, 330, 450, 900, 4000)


def machine(tokens: float) -> Speed:
    """One that answers as fast as it trains and starts a process the slower, the slower it is."""
    return Speed(training=tokens, answering=tokens, start=3000 / tokens)


def test_a_fast_machine_gets_all_rows_and_all_questions() -> None:
    plan = choose(machine(450), left=250)
    assert (plan.name, plan.rows, plan.questions) == ("full", TRAIN_ROWS, HELDOUT_ROWS)
    assert (plan.epochs, plan.batch_rows, plan.learning_rate_multiplier) == (1, 4, 2.0)


def test_a_slower_machine_never_gets_more_to_do() -> None:
    chosen = [PLANS.index(choose(machine(speed), left=200)) for speed in SPEEDS]
    assert chosen == sorted(chosen, reverse=True)
    assert set(chosen) == set(range(len(PLANS)))


@pytest.mark.parametrize("speed", SPEEDS)
@pytest.mark.parametrize("left", [60, 150, 200, 280])
def test_the_best_plan_that_fits_is_chosen_else_the_shortest(speed: float, left: float) -> None:
    plan = choose(machine(speed), left)
    better = PLANS[: PLANS.index(plan)]
    assert all(seconds(other, machine(speed)) > left for other in better)
    assert seconds(plan, machine(speed)) <= left or plan is PLANS[-1]


def test_the_slowest_machine_gets_the_shortest_plan() -> None:
    assert choose(machine(60), left=280) is PLANS[-1]


def test_both_speeds_and_the_start_count() -> None:
    fast = Speed(training=2000, answering=2000, start=2)
    assert choose(fast, left=200) is PLANS[0]
    for slow in (
        Speed(training=60, answering=2000, start=2),
        Speed(training=2000, answering=60, start=2),
        Speed(training=2000, answering=2000, start=60),
    ):
        assert choose(slow, left=200) is not PLANS[0]


def test_plans_go_from_most_to_least_and_each_beats_70_percent() -> None:
    for more, less in pairwise(PLANS):
        assert more.rows >= less.rows
        assert more.questions > less.questions
        assert more.right >= less.right
        assert seconds(more, machine(200)) > seconds(less, machine(200))
    assert all(plan.right > 0.7 for plan in PLANS)
    assert all(plan.rows <= TRAIN_ROWS and plan.questions <= HELDOUT_ROWS for plan in PLANS)


@pytest.mark.parametrize("plan", PLANS, ids=lambda plan: plan.name)
def test_a_plan_can_be_forced(plan: Plan) -> None:
    assert forced({"PRIVATUNE_DEMO_PLAN": plan.name}) is plan


def test_without_a_wish_nothing_is_forced() -> None:
    assert forced({}) is None
    assert forced({"PRIVATUNE_DEMO_PLAN": " "}) is None


def test_a_plan_that_is_none_is_refused_with_those_there_are() -> None:
    with pytest.raises(NoSuchPlan, match=r"'huge'; there are full, medium, short\."):
        forced({"PRIVATUNE_DEMO_PLAN": "huge"})
