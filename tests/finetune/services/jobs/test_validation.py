"""From upload to queue: files read for the model, "auto" resolved with reasons, budget kept."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.conf import settings

from finetune.families import family
from finetune.models import Dataset, Run
from finetune.records.kinds import ROW
from finetune.services.files import checking, datasets
from finetune.services.files.checking import CHECK
from finetune.services.jobs import lifecycle
from finetune.services.jobs.validation import VALIDATE
from finetune.states import DatasetState, JobState, RunState
from finetune.trainer import auto
from finetune.trainer.data import make_plan
from finetune.trainer.spec import OptimSpec, RunSpec
from finetune.work.perform import perform
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.licences import change_license
from tenants.services.vaults import open_vault
from tenants.vault.errors import StorageDown
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody
from tests.tiny import build_tiny_base


def check(bench: Bench, data: bytes) -> tuple[StoredFile, Dataset]:
    """As after an upload: structure only."""
    file = bench.add_file(data, status="uploaded")
    with tenant_scope(bench.tenant.id):
        dataset = datasets.request_check(file=file)
    perform(CHECK, tenant_id=bench.tenant.id, key=dataset.id)
    with tenant_scope(bench.tenant.id):
        return StoredFile.objects.get(id=file.id), Dataset.objects.get(id=dataset.id)


def test_a_sound_file_becomes_processed_and_its_rows_are_frozen(bench: Bench) -> None:
    file, dataset = check(bench, jsonl(chat_rows(12)))
    assert (file.status, file.status_details) == ("processed", None)
    assert (dataset.state, dataset.format, dataset.rows) == (DatasetState.READY, "chat", 12)
    with tenant_scope(bench.tenant.id):
        rows = open_vault().read_bytes(dataset.rows_object).splitlines()
    assert json.loads(rows[0])["messages"][1]["role"] == "assistant"
    assert in_use(settings.WORK_DIR) == []


def test_a_faulty_file_becomes_error_and_says_line_and_cause(bench: Bench) -> None:
    data = jsonl(chat_rows(3)) + b'{"messages": []}\n{broken\n'
    file, dataset = check(bench, data)
    assert file.status == "error"
    assert file.status_details is not None
    assert "line 4" in file.status_details
    assert dataset.state == DatasetState.REFUSED
    assert dataset.report["first_error"] == {"code": "empty_messages", "line": 4}
    with tenant_scope(bench.tenant.id):
        full = datasets.full_report(dataset, by=somebody(dataset.tenant_id))
        assert full is not None
        assert {p["line"] for p in full["problems"]} >= {4, 5}
        assert len(open_vault().read_bytes(dataset.errors_object).splitlines()) >= 2


def test_a_check_runs_once_however_often_it_is_nudged(bench: Bench) -> None:
    file, first = check(bench, jsonl(chat_rows(3)))
    with tenant_scope(bench.tenant.id):
        again = datasets.request_check(file=file)
    perform(CHECK, tenant_id=bench.tenant.id, key=again.id)
    with tenant_scope(bench.tenant.id):
        assert Dataset.objects.get(id=first.id).rows_object == first.rows_object


def test_while_the_storage_is_down_a_check_waits_and_the_job_says_so_once(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = bench.create()

    def down(*_: Any, **__: Any) -> None:
        raise StorageDown("its address", "no answer")

    with monkeypatch.context() as patch:
        patch.setattr(checking, "fetch_file", down)
        patch.setattr(checking.Checking, "wait_seconds", 0)
        for _ in range(2):
            perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.VALIDATING_FILES
    (told,) = bench.events(job, "job_waits")
    assert told.message == "Waiting: The storage does not answer.", "once, without its address"
    assert told.data["waits_for"] == "storage_down"
    with tenant_scope(bench.tenant.id):
        (error,) = Dataset.objects.values_list("error", flat=True)
        assert (error["code"], error["waits_for"]) == ("waiting", "storage_down")
        Dataset.objects.update(not_before=None)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.QUEUED


def test_a_held_job_is_made_ready_and_starts_only_when_it_is_resumed(bench: Bench) -> None:
    job = bench.create(auto_start=False)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.PAUSED
    assert bench.job(job).resolved["trained_tokens"] > 0
    assert bench.events(job, "job_held")
    with tenant_scope(bench.tenant.id):
        assert not Run.objects.filter(job=job).exists()
        assert lifecycle.resume_job(job_id=job.id, actor="test").state == JobState.QUEUED
        assert Run.objects.get(job=job).state == RunState.WAITING
        lifecycle.pause_job(job_id=job.id, actor="test")
        lifecycle.resume_job(job_id=job.id, actor="test")
    assert len(bench.events(job, "job_released")) == len(bench.events(job, "job_resumed")) == 1


def test_a_held_job_is_promised_its_tokens_and_can_be_cancelled(bench: Bench) -> None:
    held = bench.create(auto_start=False)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=held.id)
    other = bench.create()
    with tenant_scope(bench.tenant.id):
        change_license(
            tenant_id=bench.tenant.id,
            license_id=bench.license.id,
            actor="test",
            token_budget=bench.job(held).resolved["trained_tokens"] + 1,
        )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=other.id)
    assert bench.job(other).error["code"] == "license_required"
    with tenant_scope(bench.tenant.id):
        assert lifecycle.cancel_job(job_id=held.id, actor="test").state == JobState.CANCELLED


def test_a_valid_job_is_queued_with_every_choice_made_and_its_reason(bench: Bench) -> None:
    job = bench.create(hyperparameters={"batch_size": 6})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert job.state == JobState.QUEUED
    chosen = job.resolved["hyperparameters"]
    assert chosen["batch_size"] == 6
    assert chosen["n_epochs"] >= 1
    assert chosen["learning_rate_multiplier"] == 1.0
    assert set(job.resolved["reasons"]) == {"n_epochs", "learning_rate_multiplier"}
    assert "auto" not in json.dumps(job.resolved["spec"])
    assert job.resolved["spec"]["stability"] == "watched"
    assert job.total_steps == 4 * chosen["n_epochs"]
    with tenant_scope(bench.tenant.id):
        assert Run.objects.get(job=job).state == RunState.WAITING
        data = job.training_data
        assert data is not None
        assert job.resolved["spec"]["data"]["train_sha256"] == data.rows_sha256
        assert job.resolved["trained_tokens"] == data.tokens_trained * chosen["n_epochs"]
    assert any(message.startswith("n_epochs: ") for message in bench.messages(job))


@pytest.mark.parametrize(
    ("asked", "served", "trained"),
    [("auto", "off", "each"), ("on", "on", "on"), ("off", "off", "off")],
)
def test_a_model_that_can_think_is_asked_as_it_was_trained(
    db: None, tmp_path: Path, asked: str, served: str, trained: str
) -> None:
    bench = new_bench(build_tiny_base(tmp_path / "base", template="thinking"), name="thinker")
    job = bench.create(thinking=asked)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert job.state == JobState.QUEUED
    assert job.resolved["thinking"] == served
    assert job.resolved["spec"].get("thinking", "each") == trained
    assert ("thinking" in job.resolved["reasons"]) == (asked == "auto")


def test_rows_with_reasoning_make_a_model_think(db: None, tmp_path: Path) -> None:
    bench = new_bench(build_tiny_base(tmp_path / "base", template="thinking"), name="thinker")
    rows = chat_rows(4)
    rows[2]["messages"][-1]["reasoning_content"] = "well"
    job = bench.create(file=bench.add_file(jsonl(rows)))
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert job.resolved["thinking"] == "on"
    reason = "on: 1 of 4 trained answers stand behind a prompt that asks for it."
    assert job.resolved["reasons"]["thinking"] == reason
    assert f"thinking: {reason}" in bench.messages(job)


def test_validating_twice_queues_once(bench: Bench) -> None:
    job = bench.create()
    for _ in range(2):
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        assert Run.objects.filter(job=job).count() == 1


def test_a_row_that_is_too_long_fails_the_job_with_what_where_and_fix(bench: Bench) -> None:
    rows = chat_rows(5)
    rows[2]["messages"][0]["content"] = "long " * 200
    job = bench.create(file=bench.add_file(jsonl(rows)), max_length=64)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    error = bench.job(job).error
    assert bench.job(job).state == JobState.FAILED
    assert (error["code"], error["param"]) == ("invalid_training_file", "training_file")
    assert error["where"] == "line 3"
    assert error["fix"]


def test_rows_that_stand_in_both_files_are_told(bench: Bench) -> None:
    both = bench.add_file(jsonl(chat_rows(4, start=10) + chat_rows(2)))
    job = bench.create(validation_file=both.id)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).resolved["spec"]["data"]["valid"]
    text = "6 rows of the validation file also stand in the training file."
    assert text in bench.messages(job)
    assert bench.job(job).resolved["overlap"] == 6, "for the report of the model"


def test_a_budget_is_promised_once_however_old_the_job_whose_files_are_read_last(
    bench: Bench,
) -> None:
    older, newer = bench.create(auto_start=False), bench.create(auto_start=False)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=newer.id)
    tokens = bench.job(newer).resolved["trained_tokens"]
    change_license(
        tenant_id=bench.tenant.id, license_id=bench.license.id, actor="t",
        token_budget=2 * tokens - 1,
    )  # fmt: skip
    perform(VALIDATE, tenant_id=bench.tenant.id, key=older.id)
    assert bench.job(newer).state == JobState.PAUSED
    assert (bench.job(older).state, bench.job(older).error["code"]) == (
        JobState.FAILED, "license_required",
    )  # fmt: skip


def test_a_job_beyond_the_budget_fails_before_it_runs(bench: Bench) -> None:
    change_license(
        tenant_id=bench.tenant.id, license_id=bench.license.id, actor="t", token_budget=100
    )
    job = bench.create(hyperparameters={"n_epochs": 3})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    error = bench.job(job).error
    assert error["code"] == "license_required"
    assert "has 100 left" in error["message"]
    with tenant_scope(bench.tenant.id):
        assert not Run.objects.exists()


def test_a_file_that_eats_the_checker_ends_as_the_customers_error(
    bench: Bench, settings: Any
) -> None:
    settings.CHECK_SECONDS = 0.01
    file, dataset = check(bench, jsonl(chat_rows(3)))
    assert dataset.state == DatasetState.REFUSED
    assert dataset.error["code"] == "limit_time"
    assert file.status == "error"
    assert in_use(settings.WORK_DIR) == []


def unequal(count: int) -> bytes:
    """Rows of 20 to about 400 tokens."""
    rows = chat_rows(count)
    for number, row in enumerate(rows):
        row["messages"][0]["content"] += " please" * (number * number % 50)
    return jsonl(rows)


def test_a_rate_that_was_asked_for_is_taken_as_it_is(bench: Bench) -> None:
    asked = {"learning_rate": 3e-4, "schedule": "constant", "max_grad_norm": 0.5}
    job = bench.create(optimizer=asked)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    resolved = bench.job(job).resolved
    spec = RunSpec.model_validate(resolved["spec"])
    assert spec.optim == OptimSpec(**asked)
    rate = auto.base_rate(job.base.parameters)
    told = resolved["hyperparameters"]["learning_rate_multiplier"]
    assert told * rate == pytest.approx(3e-4)
    assert "learning_rate_multiplier" not in resolved["reasons"]


@pytest.mark.parametrize("packing", [False, True])
@pytest.mark.parametrize("count", [1, 3, 150])
@pytest.mark.parametrize("batch_size", ["auto", 2])
def test_the_steps_that_are_told_are_those_that_the_trainer_takes(
    bench: Bench, packing: bool, count: int, batch_size: int | str
) -> None:
    asked: dict[str, Any] = {"n_epochs": 2, "batch_size": batch_size}
    job = bench.create(
        file=bench.add_file(unequal(count)), packing=packing, max_length=512, hyperparameters=asked
    )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert job.state == JobState.QUEUED, job.error
    spec = RunSpec.model_validate(job.resolved["spec"])
    with tenant_scope(bench.tenant.id):
        assert job.training_data is not None
        lines = open_vault().read_bytes(job.training_data.rows_object).splitlines()
    read = family(spec.family).reader(
        settings.MODEL_STORE / bench.base.path, ROW, max_length=spec.max_length
    )
    rows = [read(line, "") for line in lines]
    plan = make_plan(
        rows,
        batch_size=spec.batch_size,
        epochs=spec.epochs,
        seed=spec.seed,
        pack_to=spec.max_length if spec.packing else None,
    )
    assert job.total_steps == job.resolved["total_steps"] == plan.total_steps
    told = [message for message in bench.messages(job) if message.startswith("batch_size: ")]
    if batch_size == "auto":
        steps = "step" if plan.steps_per_epoch == 1 else "steps"
        assert f": {plan.steps_per_epoch} {steps} an epoch from " in told[0]
        assert bool(re.search(r"\bpacks? of\b", told[0])) == packing
        assert "about" not in told[0]
    else:
        assert told == []


def test_of_a_reading_that_did_not_count_its_packs_no_number_of_steps_is_promised(
    bench: Bench,
) -> None:
    job = bench.create(packing=True)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        older = Dataset.objects.get(id=bench.job(job).training_data_id)
        older.report = {name: told for name, told in older.report.items() if name != "packs"}
        older.save()
        again = lifecycle.create_job(
            request=bench.request(packing=True, file=job.training_file), actor="test"
        )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=again.id)
    again = bench.job(again)
    assert (again.state, again.total_steps) == (JobState.QUEUED, None)
    assert any(message.startswith("batch_size: 1: about ") for message in bench.messages(again))
