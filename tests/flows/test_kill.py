"""kill -9 at any point ends in the same bytes, one result, and nothing left in the clear.

A real Celery worker over the filesystem broker, a real training process, a real packaging process.
A dead worker's lease is ended by the test, so that the reaper need not be waited for; a living one
keeps its own however slow the machine is.
"""

import json
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from django.conf import settings
from django.utils import timezone

from finetune.models import Artifact, Checkpoint, Event, Job, Run, StepSample
from finetune.services.jobs import lifecycle
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, RunState
from finetune.work import leases, sweeping
from finetune.work.perform import perform
from finetune.workspace import in_use, remove_leftovers
from tenants.database.scope import tenant_scope
from tenants.models import UsageEntry
from tenants.services.vaults import open_vault
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.waiting import until

pytestmark = pytest.mark.slow

ROWS, EPOCHS, BATCH = 48, 10, 4
STEPS = ROWS // BATCH * EPOCHS
SENTINEL = "the secret word is rhabarber"
TRIES = 5  # for a moment that may pass while this process does not run


@dataclass
class Floor:
    """A worker that can be killed and started again, and the sweeper's part, played by the test."""

    bench: Bench
    folder: Path
    worker: "subprocess.Popen[bytes] | None" = None
    app: Celery = field(init=False)

    def __post_init__(self) -> None:
        broker = self.folder / "queue"
        self.app = Celery(f"test-{uuid.uuid4().hex}", set_as_current=False)
        for name in ("messages", "processed", "control"):
            (broker / name).mkdir(parents=True)
        self.app.conf.update(
            broker_url="filesystem://",
            broker_transport_options={
                "data_folder_in": str(broker / "messages"),
                "data_folder_out": str(broker / "messages"),
                "processed_folder": str(broker / "processed"),
                "control_folder": str(broker / "control"),
            },
        )

    def start_worker(self, **changes: str) -> None:
        environment = (
            os.environ
            | {
                "DJANGO_SETTINGS_MODULE": "privatune.settings",
                "BROKER_URL": f"filesystem://{self.folder / 'queue'}",
                "PRIVATUNE_LEASE_SECONDS": "600",
                "PRIVATUNE_HEARTBEAT_SECONDS": "1",
                "OMP_NUM_THREADS": "1",
            }
            | changes
        )
        with (self.folder / "worker.log").open("ab") as log:
            self.worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "privatune.celery_app", "worker"),
                    *("-Q", "train", "--pool", "threads", "-c", "1"),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                ],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def child(self) -> psutil.Process | None:
        """The training or packaging process of the worker, innermost of the sandbox around it."""
        assert self.worker is not None
        try:
            children = psutil.Process(self.worker.pid).children(recursive=True)
            return next((c for c in reversed(children) if _module(c)), None)
        except psutil.NoSuchProcess:
            return None

    def kill(self, victim: str) -> None:
        assert self.worker is not None
        child = self.child()
        if victim in ("worker", "both"):
            self.worker.kill()
        if victim in ("trainer", "both") and child is not None:
            child.kill()
        if victim != "trainer":
            self.worker.wait()
            if child is not None:  # with its worker dead it may not go on
                child.wait()
            with tenant_scope(self.bench.tenant.id):  # as if its time had passed
                Run.objects.filter(state=RunState.LEASED).update(lease_until=timezone.now())
            self.start_worker()

    def stop(self) -> None:
        if self.worker is not None and self.worker.poll() is None:
            child = self.child()
            self.worker.kill()
            self.worker.wait()
            if child is not None:  # or it would write on in the folder that is removed
                child.wait()
        remove_leftovers(settings.WORK_DIR)  # as the next worker's start does

    def sweep(self) -> None:
        """As the sweeper does, for this test's tenant alone: other tests leave work behind."""
        for found in sweeping.due(TRAIN):
            if found.tenant_id != self.bench.tenant.id:
                continue
            if found.expired:
                leases.reap(TRAIN, tenant_id=found.tenant_id, row_id=found.row_id)
            else:
                ids = [str(found.tenant_id), str(found.key)]
                self.app.send_task("finetune.tasks.run_job", args=ids, queue="train")

    def until(self, happened: Callable[[], Any], what: str) -> None:
        log, swept = self.folder / "worker.log", 0.0

        def swept_and_happened() -> bool:
            nonlocal swept
            if happened():
                return True
            if time.monotonic() - swept > 0.5:
                self.sweep()
                swept = time.monotonic()
            return False

        def said() -> str:
            return log.read_text()[-6000:]

        until(swept_and_happened, what, of=self.worker, moving=said, said=said, pause=0.05)

    # --- what the tests wait for ---

    def state(self, job: Job) -> str:
        state = self.bench.job(job).state
        if state == JobState.FAILED:
            pytest.fail(f"the job failed: {self.bench.job(job).error}")
        return state

    def is_training(self) -> bool:
        child = self.child()
        return child is not None and _module(child) == "finetune.trainer"

    def is_packaging(self) -> bool:
        child = self.child()
        return child is not None and _module(child) == "finetune.packaging"

    def stored_checkpoints(self, job: Job) -> int:
        with tenant_scope(self.bench.tenant.id):
            return Checkpoint.objects.filter(job=job).count()


def _module(process: psutil.Process) -> str:
    try:
        line = process.cmdline()
    except psutil.Error:
        return ""
    return next((part for part in line if part in ("finetune.trainer", "finetune.packaging")), "")


@pytest.fixture
def floor(committed: None, tiny_base: Path, tmp_path: Path) -> Iterator[Floor]:
    floor = Floor(new_bench(tiny_base), tmp_path)
    yield floor
    floor.stop()


def queued_job(bench: Bench, *, epochs: int = EPOCHS) -> Job:
    """Validated here, with the machine's choice made: precision decides the bits."""
    rows = chat_rows(ROWS)
    rows[0]["messages"][0]["content"] = SENTINEL
    return made_ready(
        bench,
        rows,
        hyperparameters={"n_epochs": epochs, "batch_size": BATCH, "learning_rate_multiplier": 1},
    )


def made_ready(bench: Bench, rows: list[dict[str, Any]], **asked: Any) -> Job:
    job = bench.create(file=bench.add_file(jsonl(rows)), seed=11, **asked)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        job = Job.objects.get(id=job.id)
        assert job.state == JobState.QUEUED, job.error
        job.resolved["machine"] = {"precision": "fp32", "device": "cpu", "threads": 1}
        job.save(update_fields=["resolved"])
    return job


@pytest.fixture(scope="module")
def undisturbed() -> dict[str, str]:
    """The adapter's SHA-256 of the first run that nobody disturbs; the others compare with it."""
    return {}


def finish(floor: Floor, job: Job, steps_wanted: int = STEPS) -> Artifact:
    floor.until(lambda: floor.state(job) == JobState.SUCCEEDED, "success")
    with tenant_scope(floor.bench.tenant.id):
        artifact = Artifact.objects.get(job=job)
        usage = UsageEntry.objects.get(reference=job.public_id)
        seqs = list(Event.objects.filter(job=job).order_by("seq").values_list("seq", flat=True))
        steps = [
            data["step"]
            for data in Event.objects.filter(job=job, type="metrics")
            .order_by("seq")
            .values_list("data", flat=True)
        ]
        run = Run.objects.get(job=job)
    assert run.state == RunState.SUCCEEDED
    assert usage.tokens == artifact.report["trained_tokens"]
    assert seqs == list(range(1, len(seqs) + 1))
    assert steps == list(range(1, steps_wanted + 1)), "each step's metrics, once"
    assert floor.worker is not None
    floor.worker.send_signal(signal.SIGTERM)
    assert floor.worker.wait() == 0
    assert_nothing_is_left_in_the_clear()
    return artifact


def assert_nothing_is_left_in_the_clear() -> None:
    assert in_use(settings.WORK_DIR) == []
    objects = [path for path in (settings.DATA / "objects").rglob("*") if path.is_file()]
    assert objects
    assert not [path for path in objects if SENTINEL.encode() in path.read_bytes()]


@pytest.fixture
def expected(undisturbed: dict[str, str], committed: None, tiny_base: Path, tmp_path: Path) -> str:
    if not undisturbed:
        folder = tmp_path / "undisturbed"
        folder.mkdir()
        floor = Floor(new_bench(tiny_base), folder)
        try:
            floor.start_worker()
            undisturbed["sha256"] = finish(floor, queued_job(floor.bench)).adapter_sha256
        finally:
            floor.stop()
    return undisturbed["sha256"]


@pytest.mark.parametrize("victim", ["trainer", "worker", "both"])
def test_killed_early_in_the_middle_and_at_publishing_the_result_is_the_same(
    victim: str, expected: str, floor: Floor
) -> None:
    floor.start_worker()
    job = next(filter(None, (killed_thrice(floor, victim) for _ in range(TRIES))), None)
    assert job is not None, "it was over before it could be disturbed, again and again"
    assert finish(floor, job).adapter_sha256 == expected
    assert floor.bench.job(job).state == JobState.SUCCEEDED
    with tenant_scope(floor.bench.tenant.id):
        assert Run.objects.get(job=job).epoch == 4


def killed_thrice(floor: Floor, victim: str) -> Job | None:
    """A new job, disturbed at three moments; None if one of them had passed unseen."""
    job = queued_job(floor.bench)

    def over() -> bool:
        return floor.state(job) == JobState.SUCCEEDED

    for moment in (
        floor.is_training,
        lambda: floor.stored_checkpoints(job) >= 1 and (floor.is_training() or over()),
        floor.is_packaging,
    ):
        floor.until(lambda seen=moment: seen() or over(), "the moment to kill")  # type: ignore[misc]
        if over():
            return None
        floor.kill(victim)
    return job


def test_a_worker_that_is_told_to_stop_gives_its_run_back_at_once(
    expected: str, floor: Floor
) -> None:
    job, run = next(filter(in_the_middle, (stopped(floor) for _ in range(TRIES))))
    with tenant_scope(floor.bench.tenant.id):
        newest = Checkpoint.objects.filter(job=job).order_by("-step")[0]
    assert (run.state, run.attempts, run.exit_code) == (RunState.WAITING, 0, 75)
    assert 0 < newest.step < STEPS
    assert_nothing_is_left_in_the_clear()
    floor.start_worker()
    assert finish(floor, job).adapter_sha256 == expected
    assert f"Resumed from step {newest.step}." in floor.bench.messages(job)


def stopped(floor: Floor) -> tuple[Job, Run]:
    """A new job whose worker was asked to stop during its training, and has ended."""
    job = queued_job(floor.bench)
    floor.start_worker()
    floor.until(lambda: floor.stored_checkpoints(job) >= 1, "a checkpoint")
    assert floor.worker is not None
    floor.worker.send_signal(signal.SIGTERM)
    assert floor.worker.wait() == 0
    with tenant_scope(floor.bench.tenant.id):
        return job, Run.objects.get(job=job)


def in_the_middle(stopped: tuple[Job, Run]) -> bool:
    """Not over before it was asked."""
    return stopped[1].state != RunState.SUCCEEDED


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
    floor.start_worker()
    whole = rewarded_job(floor.bench)
    wanted = finish(floor, whole, REWARDED).adapter_sha256
    floor.start_worker()
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
    text = max((each["text"] for each in kept[1]), key=len).encode()
    objects = [path for path in (settings.DATA / "objects").rglob("*") if path.is_file()]
    assert len(text) > 8
    assert not [path for path in objects if text in path.read_bytes()]


def rewarded_and_killed(floor: Floor) -> Job | None:
    """A new job, whose trainer and whose worker are killed at two moments; None if one of them had
    passed unseen."""
    job = rewarded_job(floor.bench)

    def over() -> bool:
        return floor.state(job) == JobState.SUCCEEDED

    for victim, least in (("trainer", 2), ("both", 10)):
        floor.until(
            lambda least=least: len(samples(floor.bench, job)) >= least or over(),  # type: ignore[misc]
            "the moment to kill",
        )
        if over() or not floor.is_training():
            return None
        floor.kill(victim)
    return job


def test_pause_resume_and_cancel_reach_a_training_while_it_runs(floor: Floor) -> None:
    job = queued_job(floor.bench, epochs=50)  # nobody waits for its end
    floor.start_worker()
    floor.until(floor.is_training, "the start of the training")
    ask(floor, lifecycle.pause_job, job)
    floor.until(lambda: floor.state(job) == JobState.PAUSED, "the pause")
    ask(floor, lifecycle.resume_job, job)
    floor.until(lambda: floor.stored_checkpoints(job) >= 1, "a checkpoint")
    ask(floor, lifecycle.cancel_job, job)
    floor.until(lambda: floor.state(job) == JobState.CANCELLED, "the cancellation")
    floor.until(lambda: floor.child() is None, "the end of the training process")
    floor.until(lambda: not in_use(settings.WORK_DIR), "the end of the private folder")
    with tenant_scope(floor.bench.tenant.id):
        states = set(Run.objects.filter(job=job).values_list("state", flat=True))
        assert states == {RunState.CANCELLED}
        assert not Artifact.objects.filter(job=job).exists()
        assert not UsageEntry.objects.filter(reference=job.public_id).exists()


def ask(floor: Floor, verb: Callable[..., Job], job: Job) -> None:
    with tenant_scope(floor.bench.tenant.id):
        verb(job_id=job.id, actor="test")
