"""Taking over what the trainer says: in order, once, fenced; a checkpoint before its event."""

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from faults import OurFault
from finetune.events import JobQueued
from finetune.models import Checkpoint, Event, Job, Run
from finetune.services.jobs.steps import step
from finetune.services.runs import history as module
from finetune.services.runs.attempt import Taking
from finetune.services.runs.history import History
from finetune.services.runs.lease import RunLease
from finetune.services.runs.tail import EventTail
from finetune.services.runs.training import TRAIN
from finetune.states import JobState
from finetune.storage import checkpoint_prefix
from finetune.work import leases
from finetune.work.signals import LeaseLost
from tenants.database.scope import tenant_scope
from tenants.services.vaults import open_vault
from tenants.vault.errors import StorageDown
from tenants.vault.vault import Vault
from tests.fixtures.jobs import Bench


class Desk:
    """A leased run and a run folder, with the test in the trainer's place."""

    def __init__(self, bench: Bench, run_dir: Path) -> None:
        self.bench, self.run_dir, self.seq = bench, run_dir, 0
        self.job = bench.create()
        with tenant_scope(bench.tenant.id):
            step(self.job, JobState.QUEUED, JobQueued(), resolved={"trained_tokens": 1})
            Run.objects.create(job=self.job)
            self.vault: Vault = open_vault()
        self.lease = self.claim()

    def claim(self) -> RunLease:
        tenant_id = self.bench.tenant.id
        lease = leases.claim(TRAIN, tenant_id=tenant_id, key=self.job.id, worker="test")
        assert isinstance(lease, RunLease)
        return lease

    def say(self, type_: str, message: str = "", **data: Any) -> None:
        self.seq += 1
        event = {
            "seq": self.seq,
            "time": 0.0,
            "type": type_,
            "level": "info",
            "code": "said",
            "message": message or type_,
            "data": data,
        }
        with (self.run_dir / "events.jsonl").open("a") as file:
            file.write(json.dumps(event) + "\n")

    def metrics(self, number: int) -> None:
        self.say("metrics", f"Step {number}/9", step=number, total_steps=9, seconds_left=5.0)

    def checkpoint(self, number: int, content: bytes = b"weights", **metrics: float) -> Path:
        folder = self.run_dir / "checkpoints" / str(number)
        folder.mkdir(parents=True)
        (folder / "adapter_model.safetensors").write_bytes(content)
        sha256 = {"adapter_model.safetensors": hashlib.sha256(content).hexdigest()}
        self.say(
            "checkpoint", step=number, path=f"checkpoints/{number}", sha256=sha256, metrics=metrics
        )
        return folder

    def taking(self, lease: RunLease | None = None) -> Taking:
        history = History(lease or self.lease, self.vault)
        return Taking(EventTail(self.run_dir / "events.jsonl"), history, self.run_dir)

    def told(self) -> list[str]:
        """What the trainer's events became, without the services' own."""
        with tenant_scope(self.bench.tenant.id):
            events = Event.objects.filter(job=self.job).order_by("seq")
            return [e.message for e in events if e.seq > self.first_seq]

    @property
    def first_seq(self) -> int:
        with tenant_scope(self.bench.tenant.id):
            started = Event.objects.filter(job=self.job, message="Fine-tuning job started.")
            return int(started.values_list("seq", flat=True)[0])

    def row(self) -> Job:
        return self.bench.job(self.job)


@pytest.fixture
def desk(bench: Bench, tmp_path: Path) -> Desk:
    return Desk(bench, tmp_path)


def test_events_are_taken_once_and_in_order_while_the_file_grows(desk: Desk) -> None:
    taking = desk.taking()
    assert taking.take()
    desk.say("message", "hello")
    desk.metrics(1)
    assert taking.take()
    with (desk.run_dir / "events.jsonl").open("a") as file:
        file.write('{"seq": 3, "half')
    assert taking.take()
    assert desk.told() == ["hello", "Step 1/9"]
    assert desk.row().total_steps == 9
    assert desk.row().estimated_finish is not None


def test_a_checkpoint_is_stored_before_its_event_and_counts_as_progress(desk: Desk) -> None:
    desk.metrics(1)
    desk.checkpoint(1)
    assert desk.taking().take()
    prefix = checkpoint_prefix(desk.lease.run_id, 1, 1)
    assert desk.vault.read_bytes(prefix + "adapter_model.safetensors") == b"weights"
    with tenant_scope(desk.bench.tenant.id):
        kept = Checkpoint.objects.get(job=desk.job)
        assert (kept.step, kept.epoch, kept.prefix) == (1, 1, prefix)
        assert Run.objects.get(job=desk.job).attempts == 0
    assert desk.told() == ["Step 1/9", "checkpoint"]


def test_steps_that_are_done_again_after_a_crash_are_not_told_again(
    desk: Desk, tmp_path: Path
) -> None:
    for number in (1, 2, 3):
        desk.metrics(number)
    desk.taking().take()
    leases.retry(desk.lease, fault=OurFault("x", "x"), exit_code=-9)
    lease = desk.claim()
    (desk.run_dir / "events.jsonl").unlink()
    desk.seq = 0
    for number in (2, 3, 4):
        desk.metrics(number)
    desk.taking(lease).take()
    steps = [message for message in desk.told() if message.startswith("Step")]
    assert steps == ["Step 1/9", "Step 2/9", "Step 3/9", "Step 4/9"]


def test_a_checkpoint_that_the_trainer_removed_meanwhile_is_told_as_such(desk: Desk) -> None:
    folder = desk.checkpoint(1)
    (folder / "adapter_model.safetensors").unlink()
    desk.checkpoint(2)
    assert desk.taking().take()
    with tenant_scope(desk.bench.tenant.id):
        assert list(Checkpoint.objects.values_list("step", flat=True)) == [2]
    assert "replaced by a newer one" in desk.told()[0]


def test_while_the_storage_is_down_training_goes_on_and_nothing_is_lost_or_doubled(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    taking = desk.taking()
    down = True
    real = module.store_file

    def store(*arguments: Any) -> Any:
        if down:
            raise StorageDown("its address", "no answer")
        return real(*arguments)

    monkeypatch.setattr(module, "store_file", store)
    monkeypatch.setattr("finetune.services.runs.attempt.RETRY_SECONDS", 0)
    desk.say("message", "before")
    desk.checkpoint(1)
    desk.say("message", "after")
    assert not taking.take()
    assert not taking.take()
    down = False
    assert taking.take()
    assert desk.told() == ["before", "checkpoint", "after"]


def test_a_storage_that_stays_down_ends_the_attempt(
    desk: Desk, monkeypatch: pytest.MonkeyPatch
) -> None:
    def store(*_: Any) -> Any:
        raise StorageDown("its address", "no answer")

    monkeypatch.setattr(module, "store_file", store)
    monkeypatch.setattr("finetune.services.runs.attempt.RETRY_SECONDS", 0)
    monkeypatch.setattr("finetune.services.runs.attempt.STORAGE_PATIENCE_SECONDS", -1)
    desk.checkpoint(1)
    with pytest.raises(StorageDown):
        desk.taking().take()


def test_a_worker_that_lost_its_lease_writes_no_event_and_no_checkpoint(desk: Desk) -> None:
    taking = desk.taking()
    leases.retry(desk.lease, fault=OurFault("x", "x"), exit_code=None)
    desk.claim()
    before = desk.row().events_count
    desk.metrics(1)
    with pytest.raises(LeaseLost):
        taking.take()
    desk.checkpoint(1)
    with pytest.raises(LeaseLost):
        taking.take()
    assert desk.row().events_count == before
    with tenant_scope(desk.bench.tenant.id):
        assert not Checkpoint.objects.exists()


def test_a_later_attempt_replaces_a_checkpoint_of_the_same_step(desk: Desk) -> None:
    desk.checkpoint(1, b"first")
    desk.taking().take()
    leases.retry(desk.lease, fault=OurFault("x", "x"), exit_code=None)
    lease = desk.claim()
    (desk.run_dir / "checkpoints" / "1" / "adapter_model.safetensors").unlink()
    (desk.run_dir / "checkpoints" / "1").rmdir()
    (desk.run_dir / "events.jsonl").unlink()
    desk.checkpoint(1, b"second")
    desk.taking(lease).take()
    with tenant_scope(desk.bench.tenant.id):
        kept = Checkpoint.objects.get(job=desk.job)
    assert kept.epoch == 2
    assert desk.vault.read_bytes(kept.prefix + "adapter_model.safetensors") == b"second"
    assert list(desk.vault.list(checkpoint_prefix(lease.run_id, 1, 1))) == []


def test_only_the_checkpoints_that_somebody_may_need_are_kept(desk: Desk) -> None:
    taking = desk.taking()
    for number, epoch, loss in ((1, 0.3, 0.5), (2, 0.6, 0.9), (3, 1.0, 0.8), (4, 1.3, 0.9)):
        desk.checkpoint(number, epoch=epoch, valid_loss=loss)
    desk.checkpoint(5, epoch=1.6)
    desk.checkpoint(6, epoch=1.9)
    taking.take()
    with tenant_scope(desk.bench.tenant.id):
        kept = Checkpoint.objects.order_by("step").values_list("step", flat=True)
        assert list(kept) == [1, 3, 5, 6]  # the best, an epoch's end, the newest two
    prefixes = {name.split("/")[-2] for name in desk.vault.list("runs/")}
    assert prefixes == {"1", "3", "5", "6"}
