"""One attempt: what is missing outside makes it wait, what is at fault ends it, nothing is lost."""

import errno
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from faults import OurFault, UserFault
from finetune.events import PrecisionChosen, PrecisionWithoutBf16
from finetune.models import Checkpoint, Event, Job, Run
from finetune.services.jobs.steps import take_over
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs import attempt, packing, preparation, publishing
from finetune.services.runs.lease import RunLease
from finetune.services.runs.tail import EventTail
from finetune.services.runs.training import TRAIN
from finetune.states import ExitCode, JobState, RunState
from finetune.storage import checkpoint_prefix
from finetune.trainer.events import EventLog
from finetune.trainer.history import History
from finetune.trainer.spec import tokens_of
from finetune.trainer.state import StepMetrics
from finetune.work import fitness
from finetune.work import perform as work
from finetune.work.pulse import Pulse
from finetune.work.signals import Wishes
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tenants.services.vaults import open_vault
from tenants.vault.errors import StorageDown, StorageFull
from tests.finetune.services.runs.test_runs import claim, leased, queued
from tests.fixtures.jobs import Bench


def perform(bench: Bench, job: Job) -> None:
    work.perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)


def run_of(bench: Bench, job: Job) -> Run:
    with tenant_scope(bench.tenant.id):
        return Run.objects.get(job=job)


def pulse() -> "Pulse[Wishes]":
    return Pulse(lambda: None, Wishes, Wishes())


def test_a_full_disk_makes_the_run_wait_before_anybody_claims_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    job = queued(bench)
    monkeypatch.setattr(fitness, "LEAST_FREE_BYTES", 1 << 62)
    for _ in range(2):
        perform(bench, job)
        with tenant_scope(bench.tenant.id):
            Run.objects.update(not_before=None)
    run = run_of(bench, job)
    assert (run.state, run.epoch) == (RunState.WAITING, 0)
    needed = f"less than the {(1 << 62) >> 20} MB free"
    assert needed in run.wait_reason
    assert sum(needed in message for message in bench.messages(job)) == 1
    assert f" MB free, {(1 << 62) >> 20} MB needed" in caplog.text
    assert bench.job(job).state == JobState.QUEUED


def test_a_storage_that_is_down_makes_the_run_wait_before_anybody_claims_it(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(bench)

    class Down:
        def health(self) -> None:
            raise StorageDown("its address", "no answer")

    monkeypatch.setattr(work, "object_store", Down)
    perform(bench, job)
    run = run_of(bench, job)
    assert (run.state, run.epoch) == (RunState.WAITING, 0)
    assert run.not_before is not None
    assert run.wait_reason == "The storage does not answer."


@pytest.mark.parametrize(
    "error",
    [
        StorageDown("its address", "no answer"),
        StorageFull("its address"),
        OSError(errno.ENOSPC, "No space left on device"),
    ],
)
def test_what_fails_outside_while_preparing_costs_no_attempt_and_leaves_no_folder(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    job = queued(bench)

    def fail(lease: RunLease, job: Job, vault: Any, run_dir: Path) -> None:
        (run_dir / "rows.jsonl").write_text("secret")
        raise error

    monkeypatch.setattr(preparation, "prepare", fail)
    perform(bench, job)
    run = run_of(bench, job)
    assert (run.state, run.attempts) == (RunState.WAITING, 0)
    assert run.not_before is not None
    assert bench.job(job).state == JobState.QUEUED
    assert in_use(settings.WORK_DIR) == []


def test_a_stop_asked_while_the_folder_is_filled_gives_the_run_back_and_starts_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(bench)

    def asked(*_: Any) -> None:
        monkeypatch.setattr(attempt.shutdown, "asked", True)

    monkeypatch.setattr(preparation, "prepare", asked)
    monkeypatch.setattr(attempt, "launch_trainer", None)  # calling it would be a fault of ours
    perform(bench, job)
    run = run_of(bench, job)
    assert (run.state, run.attempts, run.epoch) == (RunState.WAITING, 0, 1)
    assert "The worker is shutting down; the job is queued again." in bench.messages(job)
    assert in_use(settings.WORK_DIR) == []


def test_a_fault_of_ours_is_tried_again_and_then_fails_with_its_cause(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(bench)

    def fail(*_: Any) -> None:
        raise ZeroDivisionError

    monkeypatch.setattr(preparation, "prepare", fail)
    for _ in range(settings.RUN_ATTEMPTS):
        perform(bench, job)
        with tenant_scope(bench.tenant.id):
            Run.objects.update(not_before=None)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error["code"] == "internal_error"
    assert run_of(bench, job).epoch == settings.RUN_ATTEMPTS


@pytest.mark.parametrize(
    ("code", "told", "job_state", "run_state"),
    [
        (ExitCode.DATA, {"code": "row_too_long"}, JobState.FAILED, RunState.FAILED),
        (ExitCode.OURS, {"code": "internal"}, JobState.QUEUED, RunState.WAITING),
        (ExitCode.OURS, {"code": "disk_full"}, JobState.QUEUED, RunState.WAITING),
        (ExitCode.OURS, {"code": "no_gpu"}, JobState.QUEUED, RunState.WAITING),
        (ExitCode.OURS, {"code": "no_bf16"}, JobState.QUEUED, RunState.WAITING),
        (ExitCode.YIELDED, None, JobState.QUEUED, RunState.WAITING),
        (-9, None, JobState.QUEUED, RunState.WAITING),
    ],
)
def test_each_way_that_the_trainer_ends_has_its_consequence(
    bench: Bench,
    tmp_path: Path,
    code: int,
    told: dict[str, str] | None,
    job_state: JobState,
    run_state: RunState,
) -> None:
    job = queued(bench)
    lease = leased(bench, job)
    if told:
        error = {"message": "why", "where": "here", "fix": "so", "param": None} | told
        (tmp_path / "error.json").write_text(json.dumps(error))
    with tenant_scope(bench.tenant.id):
        vault = open_vault()
    attempt._conclude(lease, code, tmp_path, vault, pulse())
    assert bench.job(job).state == job_state
    run = run_of(bench, job)
    assert run.state == run_state
    if code == ExitCode.DATA:
        assert bench.job(job).error["fix"] == "so"
    lacked = (told or {}).get("code")
    if waits := lacked in {"disk_full", "no_gpu", "no_bf16"}:
        with tenant_scope(bench.tenant.id):
            said = Event.objects.filter(job_id=job, code="job_waits").get()
        assert said.data["waits_for"] == lacked
    assert run.attempts == (0 if waits or code == ExitCode.YIELDED else 1)


def test_what_packaging_finds_about_the_run_is_the_customers_to_mend(
    bench: Bench, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An adapter that changes nothing ends the job at once; trying again would change nothing."""
    job = queued(bench)

    class Packaging:
        def poll(self) -> int:
            found = UserFault("adapter_unchanged", "why", fix="so", param="p")
            (tmp_path / "error.json").write_text(json.dumps(found.as_dict()))
            return ExitCode.OURS

        def kill(self) -> None:
            pass

    class Asked:
        base_dir = tmp_path

        def model_dump_json(self) -> str:
            return "{}"

    def publish(lease: Any, _: Any) -> None:
        publishing._package(tmp_path, Asked(), 1, pulse())  # type: ignore[arg-type]

    monkeypatch.setattr(packing, "launch_packaging", lambda *_, **__: Packaging())
    monkeypatch.setattr(packing, "signing_key", lambda: b"")
    monkeypatch.setattr(attempt, "work", publish)
    perform(bench, job)
    assert bench.job(job).state == JobState.FAILED
    told = bench.job(job).error
    assert (told["code"], told["fix"], told["param"]) == ("adapter_unchanged", "so", "p")
    assert run_of(bench, job).epoch == 1


def test_a_worker_that_is_shutting_down_claims_nothing(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = queued(bench)
    monkeypatch.setattr(attempt.shutdown, "asked", True)
    perform(bench, job)
    assert run_of(bench, job).epoch == 0
    assert claim(bench, job) is not None


class Prepared:
    """A validated and claimed job with checkpoints at steps 1 to 3 in the vault."""

    def __init__(self, bench: Bench, *, best: int | None) -> None:
        job = bench.create()
        work.perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
        with tenant_scope(bench.tenant.id):
            row = Job.objects.get(id=job.id)
            row.resolved["machine"] = {"precision": "fp32", "device": "cpu", "threads": 1}
            row.save()
            self.vault = open_vault()
        self.bench, self.job = bench, bench.job(job)
        self.lease = leased(bench, job)
        for number in (1, 2, 3):
            self.store(number, {"best_step": best})

    def store(self, number: int, state: dict[str, Any]) -> None:
        prefix = checkpoint_prefix(self.lease.run_id, 1, number)
        body = json.dumps(state | {"step": number}).encode()
        self.vault.put_bytes(prefix + "trainer_state.json", body)
        files = {"trainer_state.json": {"sha256": hashlib.sha256(body).hexdigest()}}
        with tenant_scope(self.bench.tenant.id):
            Checkpoint.objects.create(
                job=self.job,
                run_id=self.lease.run_id,
                epoch=1,
                step=number,
                prefix=prefix,
                files=files,
            )

    def damage(self, number: int) -> None:
        name = checkpoint_prefix(self.lease.run_id, 1, number) + "trainer_state.json"
        path = settings.DATA / "objects" / str(self.bench.tenant.id) / name
        body = bytearray(path.read_bytes())
        body[-1] ^= 1
        path.write_bytes(body)

    def restored(self, folder: Path, *, keeps_best: bool = False) -> set[str]:
        preparation._restore(self.lease, self.job, self.vault, folder, keeps_best=keeps_best)
        found = folder / "checkpoints"
        return {path.name for path in found.iterdir()} if found.exists() else set()


def test_the_private_folder_holds_what_the_trainer_needs_and_no_more(
    bench: Bench, tmp_path: Path
) -> None:
    prepared = Prepared(bench, best=None)
    with tenant_scope(bench.tenant.id):
        job = Job.objects.select_related("base", "training_data").get(id=prepared.job.id)
    spec = preparation.prepare(prepared.lease, job, prepared.vault, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {
        "spec.json",
        "base",
        "data",
        "checkpoints",
        "events.jsonl",
    }
    assert (tmp_path / "base").is_symlink()
    assert (tmp_path / "base" / "config.json").exists()
    frozen = tokens_of(tmp_path / spec.data.train)  # the rows themselves stay in the vault
    assert list((tmp_path / "data").iterdir()) == [frozen]
    assert hashlib.sha256(frozen.read_bytes()).hexdigest() == spec.data.train_tokens_sha256
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["3"]


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_without_the_token_ids_the_rows_are_given_and_without_both_it_says_so(
    bench: Bench, tmp_path: Path, how: str
) -> None:
    prepared = Prepared(bench, best=None)
    with tenant_scope(bench.tenant.id):
        job = Job.objects.select_related("base", "training_data__file").get(id=prepared.job.id)
    assert job.training_data
    objects = settings.DATA / "objects" / str(bench.tenant.id)
    tokens = objects / job.training_data.tokens_object
    if how == "gone":
        tokens.unlink()
    else:
        tokens.write_bytes(tokens.read_bytes()[:-1])
    for name in ("first", "second"):
        (tmp_path / name).mkdir()
    spec = preparation.prepare(prepared.lease, job, prepared.vault, tmp_path / "first")
    rows = tmp_path / "first" / spec.data.train
    assert [path.name for path in rows.parent.iterdir()] == [rows.name]
    assert hashlib.sha256(rows.read_bytes()).hexdigest() == spec.data.train_sha256
    assert spec.data.train_tokens_sha256  # which the trainer has to come to again
    assert any("token ids of file-" in text for text in bench.messages(job))

    (objects / job.training_data.rows_object).unlink()
    with pytest.raises(OurFault) as caught:
        preparation.prepare(prepared.lease, job, prepared.vault, tmp_path / "second")
    assert caught.value.code == "rows_missing"
    assert "datasets/" not in str(caught.value.as_dict())


def test_a_damaged_checkpoint_is_passed_over_and_the_job_says_so(
    bench: Bench, tmp_path: Path
) -> None:
    prepared = Prepared(bench, best=None)
    prepared.damage(3)
    assert prepared.restored(tmp_path) == {"2"}
    text = "The checkpoint at step 3 is damaged; an earlier one is used."
    assert text in bench.messages(prepared.job)


def test_the_best_checkpoint_is_restored_too_when_the_result_may_be_it(
    bench: Bench, tmp_path: Path
) -> None:
    prepared = Prepared(bench, best=1)
    assert prepared.restored(tmp_path / "a", keeps_best=True) == {"3", "1"}
    prepared.damage(1)
    assert prepared.restored(tmp_path / "b", keeps_best=True) == set()


@pytest.mark.parametrize(("device", "times"), [("cpu", [1, 2]), ("cuda", [1, 1, 2])])
def test_a_processor_is_tried_once_for_a_base_and_a_gpu_each_time(
    bench: Bench,
    tmp_path: Path,
    settings: Any,
    monkeypatch: pytest.MonkeyPatch,
    device: str,
    times: list[int],
) -> None:
    tried: list[int] = []
    choice = PrecisionWithoutBf16(precision="fp32")

    def probe(*_: Any, threads: int, **__: Any) -> tuple[dict[str, Any], PrecisionChosen, None]:
        tried.append(threads)
        return {"device": device, "threads": threads}, choice, None

    monkeypatch.setattr(preparation, "_tried", {})
    monkeypatch.setattr(preparation, "probe_machine", probe)
    for threads in (1, 1, 2):
        settings.TRAINER_THREADS = threads
        told = preparation._try(bench.base, tmp_path, rows=8)
        assert told == ({"device": device, "threads": threads}, choice, None)
    assert tried == times


def test_what_earlier_attempts_told_is_in_the_folder_to_the_bit_and_is_not_taken_over_again(
    bench: Bench, tmp_path: Path
) -> None:
    """The trainer's checkpoints know the figures by a digest; they come back from the database."""
    prepared = Prepared(bench, best=None)
    figures = [0.1 + 0.2, 1e-8, 1e30, 131.0, 5e-324, 1.7976931348623157e308, 2.0 / 3]
    told = [
        StepMetrics(
            step=number,
            epoch=number / 7,
            train={"train_loss": figure},
            weight=figure,
            learning_rate=figure,
            trained_tokens=number,
        ).kept()
        for number, figure in enumerate(figures, 1)
    ]
    log = EventLog(tmp_path / "told.jsonl")
    for metrics in told:
        log.metrics(metrics.shown() | {"weight": metrics.weight, "total_steps": 9})
    log.close()
    with tenant_scope(bench.tenant.id):
        job = Job.objects.select_related("base", "training_data").get(id=prepared.job.id)
        take_over(job, map(json.loads, (tmp_path / "told.jsonl").read_text().splitlines()))
    folder = tmp_path / "folder"
    folder.mkdir()
    preparation.prepare(prepared.lease, job, prepared.vault, folder)
    again = EventLog(folder / "events.jsonl")
    assert [repr(metrics) for metrics in again.told] == [repr(metrics) for metrics in told]
    histories = [History(log.told) for log in (again, EventLog(tmp_path / "told.jsonl"))]
    for history in histories:
        history.go_to(9)
    assert histories[0].told == histories[1].told
    tail = EventTail.of_what_comes(folder / "events.jsonl")
    assert tail.read() == []
    again.metrics(told[0].shown() | {"step": 8, "total_steps": 9})
    assert [event["data"]["step"] for event in tail.read()] == [8]
