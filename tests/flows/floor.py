"""A real Celery worker over the filesystem broker, with its real training and packaging processes,
that can be killed and started again; the sweeper's part is played by the test.

A dead worker's lease is ended by the test, so that the reaper need not be waited for; a living one
keeps its own however slow the machine is.
"""

import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
import pytest
from celery import Celery
from django.conf import settings
from django.utils import timezone

from finetune.models import Artifact, Checkpoint, Event, Job, Run
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, RunState
from finetune.work import leases, sweeping
from finetune.work.perform import perform
from finetune.workspace import in_use, remove_leftovers
from tenants.database.scope import tenant_scope
from tenants.models import UsageEntry
from tests.fixtures.jobs import Bench, chat_rows, jsonl
from tests.fixtures.waiting import until

ROWS, EPOCHS, BATCH = 48, 10, 4
STEPS = ROWS // BATCH * EPOCHS
SENTINEL = "the secret word is rhabarber"
TRIES = 5  # for a moment that may pass while this process does not run
MODULES = ("finetune.trainer", "finetune.packaging")


@dataclass
class Crew:
    """The worker and its queue, which outlives it. It takes several runs at a time, so that one
    kill strikes all of them."""

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

    @property
    def log(self) -> Path:
        return self.folder / "worker.log"

    def start(self, **changes: str) -> None:
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
        with self.log.open("ab") as log:
            self.worker = subprocess.Popen(
                [
                    *(sys.executable, "-m", "celery", "-A", "privatune.celery_app", "worker"),
                    *("-Q", "train", "--pool", "threads", "-c", "3"),
                    *("--without-gossip", "--without-mingle", "--without-heartbeat"),
                ],
                env=environment,
                stdout=log,
                stderr=log,
            )

    def start_if_gone(self) -> None:
        if self.worker is None or self.worker.poll() is not None:
            self.start()

    def ask_to_stop(self) -> int:
        """As a service manager does; its exit code."""
        assert self.worker is not None
        self.worker.send_signal(signal.SIGTERM)
        return self.worker.wait()

    def kill(self, *with_it: psutil.Process) -> None:
        """With these of its children; with their worker dead, the others may not go on either."""
        assert self.worker is not None
        children = self.children()
        self.worker.kill()
        for child in with_it:
            child.kill()
        for child in children:
            with suppress(psutil.NoSuchProcess):
                child.resume()  # unless it was held, it is no matter
        self.worker.wait()
        for child in children:
            child.wait()

    def children(self) -> list[psutil.Process]:
        """The training and packaging processes, each innermost of the sandbox around it first."""
        assert self.worker is not None
        found = []
        for pid in reversed(list(descendants(self.worker.pid))):
            with suppress(psutil.NoSuchProcess):
                found.append(psutil.Process(pid))
        return [child for child in found if module_of(child)]

    def has_messages(self) -> bool:
        return any((self.folder / "queue" / "messages").iterdir())


def descendants(pid: int) -> Iterator[int]:
    """As the kernel tells them, without a look at every process of the machine."""
    for task in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(FileNotFoundError, ProcessLookupError):  # it has ended
            for child in map(int, task.read_text().split()):
                yield child
                yield from descendants(child)


def module_of(process: psutil.Process) -> str:
    return next((part for part in words_of(process) if part in MODULES), "")


def words_of(process: psutil.Process) -> list[str]:
    try:
        return process.cmdline()
    except psutil.Error:
        return []


@dataclass
class Floor:
    """The crew at work for one tenant."""

    bench: Bench
    crew: Crew

    def child(self, job: Job) -> psutil.Process | None:
        """The training or packaging process of its run, or of one it had before a pause."""
        with tenant_scope(self.bench.tenant.id):
            runs = [str(run) for run in Run.objects.filter(job=job).values_list("id", flat=True)]
        for child in self.crew.children():
            if any(run in word for word in words_of(child) for run in runs):
                return child
        return None

    def kill_worker(self, *with_it: psutil.Process) -> None:
        """And start it again, as if the time of its leases had passed."""
        self.crew.kill(*with_it)
        with tenant_scope(self.bench.tenant.id):
            Run.objects.filter(state=RunState.LEASED).update(lease_until=timezone.now())
        self.crew.start()

    def sweep(self) -> None:
        """As the sweeper does, for this test's tenant alone: other tests leave work behind."""
        for found in sweeping.due(TRAIN):
            if found.tenant_id != self.bench.tenant.id:
                continue
            if found.expired:
                leases.reap(TRAIN, tenant_id=found.tenant_id, row_id=found.row_id)
            elif not self.crew.has_messages():  # or a worker that starts would find hundreds
                ids = [str(found.tenant_id), str(found.key)]
                self.crew.app.send_task("finetune.tasks.run_job", args=ids, queue="train")

    def until(self, happened: Callable[[], Any], what: str) -> None:
        swept = 0.0

        def swept_and_happened() -> bool:
            nonlocal swept
            if happened():
                return True
            if time.monotonic() - swept > 0.5:
                self.sweep()
                swept = time.monotonic()
            return False

        def said() -> str:
            return self.crew.log.read_text()[-6000:]

        until(swept_and_happened, what, of=self.crew.worker, moving=said, said=said, pause=0.1)

    # --- what the tests wait for ---

    def trains(self, job: Job) -> bool:
        return self._runs(job, "finetune.trainer")

    def is_packed(self, job: Job) -> bool:
        return self._runs(job, "finetune.packaging")

    def _runs(self, job: Job, module: str) -> bool:
        child = self.child(job)
        return child is not None and module_of(child) == module

    def state(self, job: Job) -> str:
        state = self.bench.job(job).state
        if state == JobState.FAILED:
            pytest.fail(f"the job failed: {self.bench.job(job).error}")
        return state

    def over(self, job: Job) -> bool:
        return self.state(job) == JobState.SUCCEEDED

    def stored_checkpoints(self, job: Job) -> int:
        with tenant_scope(self.bench.tenant.id):
            return Checkpoint.objects.filter(job=job).count()


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


def finish(floor: Floor, job: Job, steps_wanted: int = STEPS) -> Artifact:
    """Its one result, each step told once, and nothing left in the clear."""
    floor.until(lambda: floor.over(job), "success")
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
    floor.until(lambda: not in_use(settings.WORK_DIR), "the end of the private folder")
    assert_nothing_is_left_in_the_clear()
    return artifact


def assert_nothing_is_left_in_the_clear(text: str = SENTINEL) -> None:
    assert in_use(settings.WORK_DIR) == []
    objects = [path for path in (settings.DATA / "objects").rglob("*") if path.is_file()]
    assert objects
    assert not [path for path in objects if text.encode() in path.read_bytes()]


def tidy_up(crew: Crew) -> None:
    if crew.worker is not None and crew.worker.poll() is None:
        crew.kill()
    remove_leftovers(settings.WORK_DIR)  # as the next worker's start does
