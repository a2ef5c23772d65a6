"""kill -9 at any point ends in the same bytes, one result, and nothing left in the clear.

A real Celery worker over the filesystem broker, a real training process, a real packaging process.
"""

from collections.abc import Callable

import psutil
import pytest

from finetune.models import Checkpoint, Job, Run
from finetune.states import RunState
from tenants.database.scope import tenant_scope
from tests.flows.floor import (
    STEPS,
    TRIES,
    Floor,
    assert_nothing_is_left_in_the_clear,
    finish,
    queued_job,
)

pytestmark = pytest.mark.slow

# Early, in the middle, at publishing
MOMENTS: tuple[Callable[[Floor, Job], bool], ...] = (
    lambda floor, job: floor.trains(job),
    lambda floor, job: floor.stored_checkpoints(job) >= 1 and floor.trains(job),
    lambda floor, job: floor.is_packed(job),
)


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    """The adapter's SHA-256 of the first run that nobody disturbs; the others compare with it."""
    return {}


@pytest.fixture
def expected(undisturbed: dict[str, str], floor: Floor) -> str:
    if not undisturbed:
        undisturbed["sha256"] = finish(floor, queued_job(floor.bench)).adapter_sha256
    return undisturbed["sha256"]


def held(
    floor: Floor, jobs: list[Job], moment: Callable[[Floor, Job], bool]
) -> dict[Job, psutil.Process]:
    """Their processes, each stopped at the moment; fewer when one of them had passed unseen."""
    found: dict[Job, psutil.Process] = {}

    def seen() -> bool:
        for job in jobs:
            if job not in found and moment(floor, job) and (child := floor.child(job)) is not None:
                child.suspend()
                found[job] = child
        return len(found) == len(jobs) or any(map(floor.over, jobs))

    floor.until(seen, "the moment to kill")
    return found


def killed_thrice(floor: Floor, victims: list[str]) -> list[Job] | None:
    """New jobs, one for each victim, disturbed at three moments; None if one had passed unseen."""
    jobs = [queued_job(floor.bench) for _ in victims]
    for moment in MOMENTS:
        processes = held(floor, jobs, moment)
        if len(processes) < len(jobs):
            for child in processes.values():
                child.resume()
            return None
        if victims == ["trainer"]:
            processes[jobs[0]].kill()
            continue
        with_it = [
            processes[job] for job, victim in zip(jobs, victims, strict=True) if victim == "both"
        ]
        floor.kill_worker(*with_it)
    return jobs


@pytest.mark.parametrize("victims", [["trainer"], ["worker", "both"]], ids="-".join)
def test_killed_early_in_the_middle_and_at_publishing_the_result_is_the_same(
    victims: list[str], expected: str, floor: Floor
) -> None:
    """Of the worker's two, one trainer dies with it, and the other has to end by itself."""
    jobs = next(filter(None, (killed_thrice(floor, victims) for _ in range(TRIES))), None)
    assert jobs is not None, "it was over before it could be disturbed, again and again"
    for job in jobs:
        assert finish(floor, job).adapter_sha256 == expected
        with tenant_scope(floor.bench.tenant.id):
            assert Run.objects.get(job=job).epoch == 4


def test_a_worker_that_is_told_to_stop_gives_its_run_back_at_once(
    expected: str, floor: Floor
) -> None:
    job, run = next(filter(in_the_middle, (stopped(floor) for _ in range(TRIES))))
    with tenant_scope(floor.bench.tenant.id):
        newest = Checkpoint.objects.filter(job=job).order_by("-step")[0]
    assert (run.state, run.attempts, run.exit_code) == (RunState.WAITING, 0, 75)
    assert 0 < newest.step < STEPS
    assert_nothing_is_left_in_the_clear()
    floor.crew.start()
    assert finish(floor, job).adapter_sha256 == expected
    assert f"Resumed from step {newest.step}." in floor.bench.messages(job)
    assert floor.crew.ask_to_stop() == 0, "with nothing to do"
    assert_nothing_is_left_in_the_clear()


def stopped(floor: Floor) -> tuple[Job, Run]:
    """A new job whose worker was asked to stop during its training, and has ended."""
    floor.crew.start_if_gone()
    job = queued_job(floor.bench)
    floor.until(lambda: floor.stored_checkpoints(job) >= 1, "a checkpoint")
    assert floor.crew.ask_to_stop() == 0
    with tenant_scope(floor.bench.tenant.id):
        return job, Run.objects.get(job=job)


def in_the_middle(stopped: tuple[Job, Run]) -> bool:
    """Not over before it was asked."""
    return stopped[1].state != RunState.SUCCEEDED
