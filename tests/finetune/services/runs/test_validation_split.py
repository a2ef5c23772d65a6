"""A job that holds out a share of its own training file."""

from pathlib import Path
from typing import Any

import pytest

from faults import OurFault
from finetune.models import Artifact, Job
from finetune.records.nesting import nest
from finetune.records.splitting import clusters_of, split
from finetune.services.jobs import splitting
from finetune.services.jobs.validation import VALIDATE
from finetune.services.runs.training import TRAIN
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.services.vaults import open_vault
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench

pytestmark = [pytest.mark.slow, pytest.mark.usefixtures("committed")]


@pytest.fixture
def bench(committed: None, tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def queued(bench: Bench, **asked: Any) -> Job:
    rows = [row | {"group": f"house {n // 4}"} for n, row in enumerate(chat_rows(60))]
    file = bench.add_file(jsonl(rows))
    hyperparameters = {"n_epochs": 1, "batch_size": 2}
    job = bench.create(
        file=file, validation_split=0.2, hyperparameters=hyperparameters, seed=3, **asked
    )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    return bench.job(job)


@pytest.mark.parametrize("packing", [False, True])
def test_what_is_told_of_the_split_is_what_is_trained(bench: Bench, packing: bool) -> None:
    job = queued(bench, packing=packing, max_length=256, learning_curve=not packing)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    assert job.resolved is not None
    told = job.resolved["split"]
    assert (told["rows"], told["held_out"], told["share"]) == (48, 12, 0.2)
    (event,) = bench.events(job, "validation_split")
    assert event.data == {"rows": 12, "of": 60, "clusters": told["clusters"]}
    with tenant_scope(bench.tenant.id):
        data = Job.objects.select_related("training_data").get(id=job.id).training_data
        assert data is not None
        rows = open_vault().read_bytes(data.rows_object).splitlines()
    made = split(rows, share=0.2, seed=3)
    assert told["sha256"] == made.sha256
    houses = [{number // 4 for number in side} for side in (made.held_out, made.kept)]
    assert houses[0].isdisjoint(houses[1])
    perform(TRAIN, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert (ended.state, ended.error) == (JobState.SUCCEEDED, None)
    with tenant_scope(bench.tenant.id):
        artifact = Artifact.objects.get(job=job)
    assert artifact.report["steps"] == job.total_steps
    assert ended.receipt is not None
    assert ended.trained_tokens == ended.receipt["took"]["charged_tokens"]
    assert ended.trained_tokens == job.resolved["trained_tokens"]
    passport = artifact.passport
    assert passport["split"] == {
        "share": 0.2, "seed": 3, "training_rows": 48, "validation_rows": 12,
        "clusters": told["clusters"], "sha256": made.sha256,
    }  # fmt: skip
    assert passport["evaluation"]["validation_rows"] == 12
    assert passport["evaluation"]["validation_change"]["rows"] == 12
    if packing:
        assert passport["evaluation"]["learning_curve"] is None
    else:
        learning_curve_is_told(bench, ended, artifact, rows, made.held_out)


def learning_curve_is_told(
    bench: Bench, job: Job, artifact: Artifact, rows: list[bytes], held_out: tuple[int, ...]
) -> None:
    """Parts of whole houses, none of them held out, whose tokens are counted before and charged."""
    assert job.resolved is not None
    assert job.receipt is not None
    promised, report = job.resolved["learning_curve"], artifact.report["learning_curve"]
    parts = nest(clusters_of(rows), but=held_out, seed=3, fewest=4)
    assert promised["sha256"] == parts.sha256
    assert promised["rows"] == list(parts.sizes) == [part["rows"] for part in report["parts"]]
    assert len(promised["rows"]) >= 3
    assert promised["trained_tokens"] == report["trained_tokens"] > 0
    assert job.trained_tokens == artifact.report["trained_tokens"] + report["trained_tokens"]
    assert [point["rows"] for point in report["points"]] == [*parts.sizes, 48]
    told = artifact.passport["evaluation"]["learning_curve"]
    assert told["points"] == report["points"]
    assert told["ahead"] == report["ahead"]
    assert len(bench.events(job, "curve_part_done")) == len(parts.sizes)
    assert job.receipt["errors"]["trained_tokens"] == 0


def test_too_few_rows_for_a_curve_fail_the_job_with_the_reason(bench: Bench) -> None:
    job = bench.create(
        file=bench.add_file(jsonl(chat_rows(20))), validation_split=0.2, learning_curve=True
    )
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "curve_impossible"


def test_rows_that_all_belong_together_fail_the_job_with_the_reason(bench: Bench) -> None:
    rows = [row | {"group": "one"} for row in chat_rows(20)]
    job = bench.create(file=bench.add_file(jsonl(rows)), validation_split=0.2)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error is not None
    assert ended.error["code"] == "split_impossible"


def test_another_split_than_the_job_was_made_ready_with_is_not_trained(
    bench: Bench, tmp_path: Path
) -> None:
    job = queued(bench)
    with tenant_scope(bench.tenant.id):
        whole = Job.objects.select_related("training_data").get(id=job.id)
        vault = open_vault()
    assert whole.training_data is not None
    place = tmp_path / "held_out.json"
    whole.seed += 1
    assert whole.resolved is not None
    sha256 = whole.resolved["split"]["sha256"]
    with pytest.raises(OurFault, match="not what it was"):
        splitting.write_split(whole, whole.training_data, vault, place, sha256=sha256)
    assert not place.exists()
