"""A job that trains on several files, each as often as its weight says."""

from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.models import Artifact, Dataset, Job, JobFile
from finetune.services.files.intake import delete_file
from finetune.services.jobs.lifecycle import create_job
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.training import TRAIN
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, NotFound
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("committed")]


@pytest.fixture
def bench(committed: None, tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def asked(bench: Bench, *weights: float, counts: tuple[int, ...] = (16, 24)) -> dict[str, Any]:
    files = [
        bench.add_file(jsonl(chat_rows(n, start=100 * i)))
        for i, n in enumerate(counts[: len(weights)])
    ]
    further = [
        {"file": file.id, "weight": weight}
        for file, weight in zip(files[1:], weights[1:], strict=True)
    ]
    return {"file": files[0], "weight": weights[0], "further_files": further}


@pytest.mark.parametrize("packing", [False, True])
def test_what_is_told_of_the_files_is_what_is_trained(bench: Bench, packing: bool) -> None:
    settings = {"n_epochs": 2, "batch_size": 5}
    job = bench.create(
        **asked(bench, 2.0, 0.25), hyperparameters=settings, packing=packing, max_length=256
    )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    ready = bench.job(job)
    assert (ready.state, ready.error) == (JobState.QUEUED, None)
    assert ready.resolved is not None
    told = ready.resolved["files"]
    assert [(f["weight"], f["rows"], f["rows_per_epoch"]) for f in told] == [
        (2.0, 16, 32), (0.25, 24, 6),
    ]  # fmt: skip
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    with tenant_scope(bench.tenant.id):
        artifact = Artifact.objects.get(job=job)
        readings = list(Dataset.objects.exclude(base=None).order_by("created_at"))
    assert artifact.report["steps"] == ready.total_steps
    wanted = ready.resolved["trained_tokens"]
    assert abs(artifact.report["trained_tokens"] - wanted) < 0.05 * wanted
    found = [(each["rows_sha256"], each["weight"]) for each in artifact.passport["datasets"]]
    assert sorted(found) == sorted(
        (data.rows_sha256, 2.0 if data.rows == 16 else 0.25) for data in readings
    )


def test_a_file_that_a_live_job_trains_on_stays(bench: Bench) -> None:
    job = bench.create(**asked(bench, 1.0, 0.5))
    with tenant_scope(bench.tenant.id):
        (further,) = JobFile.objects.filter(job=job).select_related("file")
        with pytest.raises(Conflict) as raised:
            delete_file(file_id=further.file_id, actor="test")
    assert raised.value.code == "file_in_use"


def test_a_further_file_that_is_no_good_fails_the_job_by_its_name(bench: Bench) -> None:
    wish = asked(bench, 1.0)
    wrong = bench.add_file(b'{"messages": []}\n', status="uploaded")
    job = bench.create(**wish | {"further_files": [{"file": wrong.id}]})
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error["code"] == "invalid_training_file"
    assert wrong.public_id in ended.error["message"]


def test_another_tenants_file_is_not_found(bench: Bench, tiny_base: Path) -> None:
    other = new_bench(tiny_base)
    theirs = other.add_file(jsonl(chat_rows(3)))
    with pytest.raises(NotFound):
        bench.create(**asked(bench, 1.0) | {"further_files": [{"file": theirs.id}]})
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


@pytest.mark.parametrize("changes", [{"weight": 0}, {"weight": float("nan")}, {"weight": 101}])
def test_a_weight_out_of_range_is_refused(bench: Bench, changes: dict[str, Any]) -> None:
    request = JobRequest.model_validate(bench.request().model_dump() | changes)
    with pytest.raises(UserFault) as raised, tenant_scope(bench.tenant.id):
        create_job(request=request, actor="test")
    assert (raised.value.code, raised.value.param) == ("invalid_value", "training_files")


def test_a_file_named_twice_is_refused(bench: Bench) -> None:
    wish = asked(bench, 1.0)
    twice = {"further_files": [{"file": wish["file"].id}]}
    with pytest.raises(UserFault, match="named twice"):
        bench.create(**wish | twice)
