"""A file's mapping of columns: given once, frozen in every reading made from then on, and forgotten
with the file."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.db import connections

from faults import UserFault
from finetune.models import Dataset, Job
from finetune.services.files import intake
from finetune.services.files.checking import CHECK
from finetune.services.files.columns import map_columns
from finetune.services.files.datasets import request_check
from finetune.services.jobs.lifecycle import cancel_job
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.publishing import dataset_used
from finetune.states import DatasetState, JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict
from tenants.models import AuditEntry, StoredFile
from tenants.services.vaults import open_vault
from tests.finetune.services.test_words import quoted
from tests.fixtures.jobs import Bench, new_bench
from tests.fixtures.older import older

BEFORE = "0015_operators_work"
TABLE = "frage,antwort\n" + "".join(f"was ist {n},das ist {n}\n" for n in range(8))
COLUMNS = {"instruction": "frage", "output": "antwort"}


def check(bench: Bench, data: bytes) -> tuple[StoredFile, Dataset]:
    """As after the upload of a table."""
    file = bench.add_file(data, status="uploaded")
    with tenant_scope(bench.tenant.id):
        StoredFile.objects.filter(id=file.id).update(filename="table.csv")
        reading = request_check(file=file)
    return checked(bench, reading)


def checked(bench: Bench, reading: Dataset) -> tuple[StoredFile, Dataset]:
    perform(CHECK, tenant_id=bench.tenant.id, key=reading.id)
    with tenant_scope(bench.tenant.id):
        found = Dataset.objects.select_related("file").get(id=reading.id)
        return found.file, found


def mapped(bench: Bench, columns: dict[str, str]) -> tuple[StoredFile, Dataset]:
    """The table, refused first, then read by the mapping."""
    file, structure = check(bench, TABLE.encode())
    assert structure.state == DatasetState.REFUSED
    return again(bench, file, columns)


def again(bench: Bench, file: StoredFile, columns: dict[str, str]) -> tuple[StoredFile, Dataset]:
    with tenant_scope(bench.tenant.id):
        reading = map_columns(file=file, columns=columns, actor="system:test")
    return checked(bench, reading)


def rows_of(bench: Bench, reading: Dataset) -> list[Any]:
    with tenant_scope(bench.tenant.id), open_vault().open(reading.rows_object) as lines:
        return [json.loads(line) for line in lines]


@pytest.mark.usefixtures("committed")
def test_a_mapping_makes_the_file_usable_and_training_reads_by_it(tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    file, structure = mapped(bench, COLUMNS)
    assert (file.status, structure.state, structure.columns) == ("processed", "ready", COLUMNS)
    job = bench.create(file=file)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    assert bench.job(job).state == JobState.QUEUED
    with tenant_scope(bench.tenant.id):
        trained = Job.objects.select_related("training_data").get(id=job.id).training_data
        assert AuditEntry.objects.filter(action="file.columns", target=file.public_id).count() == 1
        stored = list(open_vault().list())
    assert trained is not None
    assert (trained.columns, trained.id == structure.id) == (COLUMNS, False)
    assert rows_of(bench, trained) == rows_of(bench, structure)
    assert rows_of(bench, trained)[0]["messages"][0]["content"] == "was ist 0"
    assert len([name for name in stored if name.startswith("datasets/")]) == 5  # none left over


def test_another_mapping_leaves_the_readings_of_jobs_as_they_are(bench: Bench) -> None:
    file, _ = mapped(bench, COLUMNS)
    first = bench.create(file=file)
    with tenant_scope(bench.tenant.id), pytest.raises(Conflict, match=first.public_id):
        map_columns(file=file, columns={}, actor="system:test")
    perform(VALIDATE, tenant_id=bench.tenant.id, key=first.id)
    file, _ = again(bench, file, {"prompt": "frage", "completion": "antwort"})
    second = bench.create(file=file)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=second.id)
    with tenant_scope(bench.tenant.id):
        readings = [
            Job.objects.select_related("training_data").get(id=job.id).training_data
            for job in (first, second)
        ]
    found = [(each.format, set(each.columns)) for each in readings if each is not None]
    assert found == [("alpaca", {*COLUMNS}), ("completion", {"prompt", "completion"})]


def test_a_passport_tells_two_readings_of_one_file_apart(bench: Bench) -> None:
    used = []
    file, _ = mapped(bench, COLUMNS)
    for columns in (COLUMNS, {"prompt": "frage", "completion": "antwort"}):
        again(bench, file, columns)
        job = bench.create(file=file)
        perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
        with tenant_scope(bench.tenant.id):
            reading = Job.objects.get(id=job.id).training_data
            assert reading is not None
            used.append(dataset_used("train", reading))
        resolved = bench.job(job).resolved
        assert resolved["spec"]["data"]["train_sha256"] == used[-1].rows_sha256
        assert used[-1].columns == columns
    assert used[0].sha256 == used[1].sha256
    assert used[0].rows_sha256 != used[1].rows_sha256


def test_the_same_mapping_again_changes_nothing(bench: Bench) -> None:
    file, structure = mapped(bench, COLUMNS)
    _, same = again(bench, file, dict(reversed(COLUMNS.items())))
    assert (same.epoch, same.rows_object) == (structure.epoch, structure.rows_object)


def test_what_cannot_be_mapped_is_refused(bench: Bench) -> None:
    file, _ = check(bench, TABLE.encode())
    other = bench.add_file(b"x", purpose="user_data")
    with tenant_scope(bench.tenant.id):
        for wrong, columns, param in (
            (file, {"answer": "antwort"}, "columns"),
            (other, COLUMNS, "file"),
        ):
            with pytest.raises(UserFault) as refused:
                map_columns(file=wrong, columns=columns, actor="system:test")
            assert refused.value.param == param
        map_columns(file=file, columns=COLUMNS, actor="system:test")
        with pytest.raises(Conflict):  # its check has not ended
            map_columns(file=file, columns={}, actor="system:test")


def test_the_names_of_columns_go_with_the_file(bench: Bench) -> None:
    file, _ = mapped(bench, COLUMNS)
    job = bench.create(file=file)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        cancel_job(job_id=job.id, actor="system:test")
        intake.delete_file(file_id=file.id, actor="system:test")
    assert quoted(bench, "antwort") == []


@pytest.mark.usefixtures("committed")
def test_readings_from_before_keep_what_they_are(tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    file, structure = check(bench, b"prompt,completion\na,b\n")

    def row() -> object:
        with connections["owner"].cursor() as cursor:
            asked = "SELECT to_jsonb(kept) FROM finetune_dataset kept WHERE file_id = %s"
            cursor.execute(asked, [file.id])
            return cursor.fetchall()

    now = row()
    with older("finetune", BEFORE) as migrate:
        before = row()
        migrate()
        after = row()
    assert (structure.columns, structure.columns_key) == ({}, "")
    assert "columns_key" in str(now)
    assert "columns_key" not in str(before)
    assert after == now  # so that it is still the one that is found
