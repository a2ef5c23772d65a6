"""What reaches a training while it runs: a kill in a training by rewards, a pause, a cancellation.
The worker and its processes are real."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.conf import settings

from finetune.models import Artifact, Event, Job, Run, StepSample
from finetune.services.jobs import lifecycle
from finetune.states import JobState, RunState
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tenants.models import UsageEntry
from tenants.services.vaults import open_vault
from tests.fixtures.jobs import Bench
from tests.flows.floor import (
    SENTINEL,
    TRIES,
    Floor,
    assert_nothing_is_left_in_the_clear,
    finish,
    made_ready,
    queued_job,
)

pytestmark = pytest.mark.slow

REWARDED = 24  # steps of the job below


def rewarded_job(bench: Bench) -> Job:
    rows = [
        {"messages": [{"role": "user", "content": f"{SENTINEL} {n}"}], "letter": "e"}
        for n in range(16)
    ]
    return made_ready(
        bench,
        rows,
        method="reinforcement",
        grader={"type": "string_check", "name": "letter", "operation": "like",
                "input": "{{ sample.output_text }}", "reference": "{{ item.letter }}"},
        max_length=128,
        hyperparameters={"n_epochs": 6, "batch_size": 4},
        settings={"max_completion_tokens": 12, "num_generations": 4},
    )  # fmt: skip


def samples(bench: Bench, job: Job) -> dict[int, list[dict[str, Any]]]:
    """By step; no step has two."""
    with tenant_scope(bench.tenant.id):
        vault = open_vault()
        rows = list(StepSample.objects.filter(job=job).order_by("step"))
        assert len({row.step for row in rows}) == len(rows)
        return {
            row.step: [json.loads(line) for line in vault.read_bytes(row.object_name).splitlines()]
            for row in rows
        }


def test_a_training_by_rewards_that_is_killed_twice_keeps_each_steps_answers_once(
    floor: Floor,
) -> None:
    whole = rewarded_job(floor.bench)
    wanted = finish(floor, whole, REWARDED).adapter_sha256
    job = next(filter(None, (rewarded_and_killed(floor) for _ in range(TRIES))), None)
    assert job is not None, "it was over before it could be disturbed, again and again"
    assert finish(floor, job, REWARDED).adapter_sha256 == wanted
    kept = samples(floor.bench, job)
    assert list(kept) == list(range(1, REWARDED + 1))
    assert kept == samples(floor.bench, whole), "and they are those of the undisturbed one"
    with tenant_scope(floor.bench.tenant.id):
        assert Run.objects.get(job=job).epoch == 3
        told = Event.objects.filter(job=job, type="metrics").values_list("data", flat=True)
        rewards = {each["step"]: each["train_reward"] for each in told}
        assert len(list(open_vault().list("runs/"))) >= 2 * REWARDED
    means = {step: sum(each["reward"] for each in found) / 16 for step, found in kept.items()}
    assert means == pytest.approx(rewards)
    text = max((each["text"] for each in kept[1]), key=len)
    assert len(text.encode()) > 8
    assert_nothing_is_left_in_the_clear(text)


def kept_steps(bench: Bench, job: Job) -> int:
    with tenant_scope(bench.tenant.id):
        return StepSample.objects.filter(job=job).count()


def rewarded_and_killed(floor: Floor) -> Job | None:
    """A new job, whose trainer and whose worker are killed at two moments; None if one of them had
    passed unseen."""
    job = rewarded_job(floor.bench)

    for victim, least in (("trainer", 2), ("both", 10)):
        floor.until(
            lambda least=least: kept_steps(floor.bench, job) >= least or floor.over(job),  # type: ignore[misc]
            "the moment to kill",
        )
        child = floor.child(job)
        if floor.over(job) or not floor.trains(job) or child is None:
            return None
        if victim == "both":
            floor.kill_worker(child)
        else:
            child.kill()
    return job


def test_pause_resume_and_cancel_reach_a_training_while_it_runs(floor: Floor) -> None:
    job = queued_job(floor.bench, epochs=50)  # nobody waits for its end
    floor.until(lambda: floor.trains(job), "the start of the training")
    ask(floor, lifecycle.pause_job, job)
    floor.until(lambda: floor.state(job) == JobState.PAUSED, "the pause")
    ask(floor, lifecycle.resume_job, job)
    floor.until(lambda: floor.stored_checkpoints(job) >= 1, "a checkpoint")
    ask(floor, lifecycle.cancel_job, job)
    floor.until(lambda: floor.state(job) == JobState.CANCELLED, "the cancellation")
    floor.until(lambda: floor.child(job) is None, "the end of the training process")
    floor.until(lambda: not in_use(settings.WORK_DIR), "the end of the private folder")
    with tenant_scope(floor.bench.tenant.id):
        states = set(Run.objects.filter(job=job).values_list("state", flat=True))
        assert states == {RunState.CANCELLED}
        assert not Artifact.objects.filter(job=job).exists()
        assert not UsageEntry.objects.filter(reference=job.public_id).exists()


def ask(floor: Floor, verb: Callable[..., Job], job: Job) -> None:
    with tenant_scope(floor.bench.tenant.id):
        verb(job_id=job.id, actor="test")
