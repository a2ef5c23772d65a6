"""A worker that lacks something itself fails nobody's job: the runs wait, and it says so."""

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from finetune.events import waits
from finetune.models import Dataset, Job, Run
from finetune.packaging.files import sha256_file
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs import preparation
from finetune.services.runs.training import TRAIN
from finetune.states import DatasetState, JobState, RunState
from finetune.tasks import Subscription
from finetune.work import fitness, nudges
from finetune.work import perform as work
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tests.fixtures.jobs import Bench


@pytest.fixture
def store(bench: Bench, tmp_path: Path, settings: Any) -> Path:
    """A model store of the test's own, with the bench's base in it; the folder of the base."""
    folder = tmp_path / "store" / bench.base.path
    shutil.copytree(settings.MODEL_STORE / bench.base.path, folder)
    shutil.copytree(folder, tmp_path / "store" / "another")
    settings.MODEL_STORE = tmp_path / "store"
    return folder


def truncate(folder: Path) -> None:
    path = folder / "model.safetensors"
    path.write_bytes(path.read_bytes()[:-100])


def flip_a_bit(folder: Path) -> None:
    path = folder / "model.safetensors"
    body = bytearray(path.read_bytes())
    body[-1] ^= 1
    path.write_bytes(body)


def damage_the_tokenizer(folder: Path) -> None:
    path = folder / "tokenizer.json"
    path.write_text(path.read_text().replace("a", "b", 1))


def swap(folder: Path) -> None:
    """Other weights, and a base.json that agrees with them."""
    truncate(folder)
    path = folder / "model.safetensors"
    text = (folder / "base.json").read_text()
    info = fitness.read_base(folder)
    text = text.replace(info.files[path.name].sha256, sha256_file(path))
    (folder / "base.json").write_text(
        text.replace(str(info.files[path.name].bytes), str(path.stat().st_size))
    )


Break = Callable[[Path], None]
BREAKS: dict[str, Break] = {
    "has a damaged copy of": truncate,
    "(model.safetensors)": flip_a_bit,
    "(tokenizer.json)": damage_the_tokenizer,
    "the model as catalogued": swap,
    "the worker lacks the model": shutil.rmtree,
    "the worker cannot read the model": lambda folder: _write(folder / "base.json", "{"),
}


def _write(path: Path, text: str) -> None:
    path.write_text(text)


def queued(bench: Bench) -> Job:
    made = bench.create()
    perform(VALIDATE, tenant_id=bench.tenant.id, key=made.id)
    assert bench.job(made).state == JobState.QUEUED
    return made


def perform_often(bench: Bench, job: Job, times: int) -> Run:
    for _ in range(times):
        work.perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        return Run.objects.get(job=job)


def waited(bench: Bench, job: Job) -> list[str]:
    return [message for message in bench.messages(job) if message.startswith("Waiting: ")]


@pytest.mark.parametrize("lack", ["store", "key", "disk"])
def test_a_worker_without_models_key_or_disk_costs_no_job_an_attempt_and_holds_nobody_up(
    bench: Bench, tmp_path: Path, settings: Any, monkeypatch: pytest.MonkeyPatch, lack: str
) -> None:
    """On the old code a few calls of a worker with an empty model store failed the job."""
    made = queued(bench)
    if lack == "store":
        settings.MODEL_STORE = tmp_path / "empty"
    elif lack == "key":
        settings.SIGNING_KEY_FILE = tmp_path / "absent.pem"
    else:
        monkeypatch.setattr(fitness, "LEAST_FREE_BYTES", 1 << 62)
    run = perform_often(bench, made, settings.RUN_ATTEMPTS + 2)
    assert bench.job(made).state == JobState.QUEUED
    assert (run.state, run.attempts, run.epoch) == (RunState.WAITING, 0, 0)
    assert run.not_before is None, "a worker that is whole may claim it at once"
    assert "the worker" in run.wait_reason
    assert len(waited(bench, made)) == 1, "said once"


@pytest.mark.parametrize("told", BREAKS)
def test_a_base_damaged_in_this_workers_store_is_not_the_jobs_fault(
    bench: Bench, store: Path, settings: Any, told: str
) -> None:
    """On the old code the training failed on it, three times, and then the job."""
    made = queued(bench)
    BREAKS[told](store)
    run = perform_often(bench, made, settings.RUN_ATTEMPTS + 2)
    assert (run.state, run.attempts, run.epoch) == (RunState.WAITING, 0, 0)
    assert bench.job(made).state == JobState.QUEUED
    (message,) = waited(bench, made)
    assert told in message
    assert f"`{bench.base.name}`" in message


def test_a_base_damaged_while_a_run_is_prepared_costs_the_run_no_attempt(
    bench: Bench, store: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = queued(bench)

    def fail(*_: Any) -> None:
        truncate(store)
        raise ZeroDivisionError

    monkeypatch.setattr(preparation, "prepare", fail)
    run = perform_often(bench, made, 3)
    assert (run.state, run.attempts, run.epoch) == (RunState.WAITING, 0, 1)
    assert bench.job(made).state == JobState.QUEUED
    assert "damaged copy" in waited(bench, made)[0]


@pytest.mark.parametrize("breaks", [shutil.rmtree, damage_the_tokenizer, truncate])
def test_a_check_waits_for_a_worker_whose_base_is_whole(
    bench: Bench, store: Path, breaks: Break
) -> None:
    """On the old code it failed the job: the file could not be read without the tokenizer."""
    whole = {path.name: path.read_bytes() for path in store.iterdir()}
    made = bench.create()
    breaks(store)
    for _ in range(2):
        perform(VALIDATE, tenant_id=bench.tenant.id, key=made.id)
    assert bench.job(made).state == JobState.VALIDATING_FILES
    with tenant_scope(bench.tenant.id):
        reading = Dataset.objects.get(id=bench.job(made).training_data_id)
    assert (reading.state, reading.not_before) == (DatasetState.PENDING, None)
    assert len(waited(bench, made)) == 1, "said once"
    store.mkdir(exist_ok=True)
    for name, body in whole.items():
        (store / name).write_bytes(body)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=made.id)
    assert bench.job(made).state == JobState.QUEUED


class Consumer:
    """Of a worker: what it is told to do with its queues."""

    def __init__(self) -> None:
        self.calls: list[tuple[str, str]] = []

    def call_soon(self, verb: Callable[[str], None], queue: str) -> None:
        verb(queue)

    def cancel_task_queue(self, queue: str) -> None:
        self.calls.append(("cancel", queue))

    def add_task_queue(self, queue: str) -> None:
        self.calls.append(("add", queue))


def test_a_worker_that_lacks_something_leaves_the_queue_and_comes_back(
    bench: Bench, tmp_path: Path, settings: Any
) -> None:
    """The whole worker: tests/flows/test_faulty_worker.py."""
    consumer, full = Consumer(), settings.MODEL_STORE
    subscription = Subscription(consumer)
    for store in (full, tmp_path, tmp_path, full, full):
        settings.MODEL_STORE = store
        subscription.look()
    assert consumer.calls == [("cancel", "train"), ("add", "train")]


def test_a_job_that_comes_once_no_worker_takes_any_reads_why_it_waits(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A disk that ran full was told to nobody but the worker's log."""
    subscription, lacking = Subscription(Consumer()), waits.DiskLow(needed=256)
    monkeypatch.setattr(fitness, "lack", lambda: lacking)
    subscription.look()
    made = queued(bench)
    monkeypatch.setattr(nudges, "takers", lambda queue: int(queue == TRAIN.model.queue))
    subscription.tell()
    assert waited(bench, made) == [], "another worker takes it"
    monkeypatch.undo()
    monkeypatch.setattr(fitness, "lack", lambda: lacking)
    for _ in range(2):
        subscription.tell()
    assert waited(bench, made) == [f"Waiting: {lacking.text}"], "said once"
    with tenant_scope(bench.tenant.id):
        assert Run.objects.get(job=made).wait_reason == lacking.text
