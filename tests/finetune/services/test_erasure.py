"""Deleting a file, and what killed processes leave in the store: it goes, and nothing else does."""

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from django.conf import settings
from django.db import connection

from finetune.models import Artifact, Dataset, Run
from finetune.records.check.child import check_in_child
from finetune.services.files import checking, datasets, intake
from finetune.services.files.checking import CHECK
from finetune.services.files.orphans import remove_orphans
from finetune.services.jobs.validation import VALIDATE
from finetune.services.models import artifacts
from finetune.states import DatasetState
from finetune.storage import attempt_artifact
from finetune.work.perform import perform
from finetune.work.signals import LeaseLost
from finetune.workspace import in_use
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile, Upload
from tenants.services.idempotency import Attempt, once
from tenants.services.uploads import LIFE
from tenants.services.vaults import object_store, open_vault
from tests.finetune.services.jobs.test_validation import check
from tests.finetune.services.test_words import quoted
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.principals import somebody
from tests.s3 import s3_server

SECRET = "canary4711"


def objects_of(bench: Bench) -> list[str]:
    return sorted(object_store().list(f"{bench.tenant.id}/"))


@pytest.mark.usefixtures("committed")
def test_a_deleted_file_leaves_figures_for_its_job_and_no_name_object_or_other_reading(
    tiny_base: Path,
) -> None:
    bench = new_bench(tiny_base)
    file, structure = check(bench, jsonl(chat_rows(4)))
    job = bench.create(file=file)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        StoredFile.objects.filter(id=file.id).update(filename=SECRET)
        Upload.objects.create(
            filename=SECRET, purpose="fine-tune", bytes=1, mime_type="x", file=file,
            expires_at=file.created_at + LIFE,
        )  # fmt: skip
        Artifact.objects.create(
            job=job, base=job.base, model_name=f"ft:{job.id}", digest="x", adapter_sha256="x",
            bundle_object="", bundle_bytes=0, bundle_sha256="", adapter_object="",
            adapter_config={}, passport={"datasets": [{"role": "train", "name": SECRET}]},
        )  # fmt: skip
        from finetune.services.jobs.lifecycle import cancel_job

        cancel_job(job_id=job.id, actor="system:test")
        intake.delete_file(file_id=file.id, actor="system:test")
    assert objects_of(bench) == []
    assert quoted(bench, SECRET) == []
    with tenant_scope(bench.tenant.id):
        [kept] = Dataset.objects.all()
        assert kept.id != structure.id
        assert (kept.rows, kept.rows_object) == (4, "")
        full = datasets.full_report(kept, by=somebody(kept.tenant_id))
        assert full is not None
        assert full["problems"] == []


def test_the_check_of_a_deleted_file_is_killed_at_its_next_sign_of_life(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = bench.add_file(jsonl(chat_rows(20)), status="uploaded")
    with tenant_scope(bench.tenant.id):
        dataset = datasets.request_check(file=file)
    ends: list[type[BaseException]] = []

    def deleted_meanwhile(*args: Any, progress: Any, **options: Any) -> Any:
        with tenant_scope(bench.tenant.id):
            intake.delete_file(file_id=file.id, actor="system:test")
        try:
            return check_in_child(*args, progress=progress, **options)
        except BaseException as error:
            ends.append(type(error))
            raise

    monkeypatch.setattr(checking, "check_in_child", deleted_meanwhile)
    perform(CHECK, tenant_id=bench.tenant.id, key=dataset.id)
    assert ends == [LeaseLost]
    with tenant_scope(bench.tenant.id):
        row = Dataset.objects.get(id=dataset.id)
        assert (row.state, row.error["code"]) == (DatasetState.REFUSED, "file_deleted")
    assert in_use(settings.WORK_DIR) == []


@pytest.mark.usefixtures("committed")
def test_a_deleted_model_takes_along_what_attempts_that_were_cut_off_had_stored(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(artifacts, "evict", lambda **_: True)
    bench = new_bench(tiny_base)
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        vault = open_vault()
        run = Run.objects.create(job=job, epoch=3)
        made = attempt_artifact(run.id, 3)
        kept = [f"artifacts/{made}/metrics.csv", job.training_file.object_name]
        gone = [
            *(f"artifacts/{made}/bundle.tar", f"artifacts/{made}/adapter_model.safetensors"),
            f"artifacts/{attempt_artifact(run.id, 2)}/bundle.tar",
            *(f"runs/{run.id}/{epoch}/checkpoints/5/optimizer.safetensors" for epoch in (1, 3)),
        ]
        for name in [*kept[:1], *gone]:
            vault.put_bytes(name, b"weights")
        Artifact.objects.create(
            id=made, job=job, base=job.base, model_name="ft:tiny:x", digest="x",
            adapter_sha256="x", bundle_object=gone[0], bundle_bytes=0, bundle_sha256="",
            adapter_object=gone[1], adapter_config={}, passport={},
        )  # fmt: skip
        artifacts.delete_model(name="ft:tiny:x", actor="system:test")
    assert sorted(vault.list()) == sorted(kept)


Age = Callable[[list[str]], None]


@pytest.fixture(params=["folder", "s3"])
def age(request: pytest.FixtureRequest, tmp_path: Path, settings: Any) -> Iterator[Age]:
    """Makes objects of the installation's store two days old, in a folder and on an S3 server."""

    def touch(root: Path, keys: list[str]) -> None:
        long_ago = time.time() - 2 * 24 * 3600
        for key in keys:
            os.utime(root / key, (long_ago, long_ago))

    if request.param == "folder":
        root = Path(settings.OBJECTS_URL.removeprefix("file://"))
        yield lambda keys: touch(root, keys)
        return
    with s3_server(tmp_path / "s3") as server:

        def touch_behind_its_back(keys: list[str]) -> None:
            server.stop()  # it remembers what it has listed
            touch(tmp_path / "s3" / "bucket" / "installation", keys)
            server.start()

        settings.OBJECTS_URL = server.bucket("bucket").replace("bucket", "bucket/installation")
        object_store.cache_clear()
        yield touch_behind_its_back
    object_store.cache_clear()


@pytest.mark.usefixtures("committed")
def test_what_no_row_names_goes_after_a_day_and_nothing_else(tiny_base: Path, age: Age) -> None:
    bench = new_bench(tiny_base)
    file, reading = check(bench, jsonl(chat_rows(4)))
    with tenant_scope(bench.tenant.id):
        vault = open_vault()
    for name in ("objects/orphan", "runs/cut/1/checkpoints/5/adapter.safetensors", "objects/new"):
        vault.put_bytes(name, b"left behind")
    foreign = f"{uuid4()}/objects/theirs"
    with object_store().write(foreign) as writer:
        writer.write(b"not ours")
    age([key for key in [*objects_of(bench), foreign] if not key.endswith("objects/new")])

    assert remove_orphans() == 2

    kept = {key.partition("/")[2] for key in objects_of(bench)}
    assert kept == {file.object_name, reading.rows_object, reading.errors_object, "objects/new"}
    assert list(object_store().list(foreign)) == [foreign]
    object_store().delete(foreign)


def test_a_kept_answer_is_noise_in_the_row_and_the_same_answer_to_its_retry(bench: Bench) -> None:
    first = Attempt("caller", "POST /x", "sha", key="k")
    with tenant_scope(bench.tenant.id):
        made = once(attempt=first, make=lambda: {"filename": SECRET})
        assert quoted(bench, SECRET) == []
        with connection.cursor() as cursor:
            cursor.execute("SELECT sealed FROM tenants_idempotencyrecord")
            assert SECRET.encode() not in bytes(cursor.fetchone()[0])
        again = once(attempt=first, make=dict)
    assert (made.body, made.replayed) == ({"filename": SECRET}, False)
    assert (again.body, again.replayed) == ({"filename": SECRET}, True)
