"""A pipeline's page: what each stage learns from, takes and makes, and a person's yes."""

from pathlib import Path
from typing import Any

import pytest

from finetune.models import Event, Job, Pace, Pipeline, Stage
from finetune.services.estimates.figures import resolved
from finetune.services.pipelines import lifecycle
from finetune.services.pipelines.told import status_of
from finetune.services.pipelines.wishes import open_stages
from finetune.services.runs import pace
from finetune.states import JobState
from tenants.database.scope import tenant_scope
from tests.finetune.api.customers import Customer
from tests.finetune.services.pipelines.test_pipelines import (
    BETTER,
    advance,
    ask,
    begin,
    job_of,
    stages,
    succeed,
)
from tests.fixtures.jobs import Bench, new_bench
from tests.fixtures.people import browser_of, member
from tests.fixtures.principals import somebody

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def browse(bench: Bench) -> tuple[Any, str]:
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    return browser_of(member(customer)), f"/t/{customer.slug}/"


def page_of(bench: Bench, path: str, language: str = "en") -> str:
    browser, at = browse(bench)
    answer = browser.get(at + path, headers={"accept-language": language})
    assert answer.status_code == 200
    return str(answer.content.decode())


def stage_on(page: str, number: int) -> str:
    """What the page shows of that stage alone."""
    return page.partition(f'id="stage-{number}"')[2].partition("</section>")[0]


def test_a_stage_that_waits_is_approved_on_the_pipelines_page(bench: Bench) -> None:
    pipeline = ask(bench, "approval", "none", name="two stages")
    advance(bench, pipeline)
    succeed(bench, job_of(bench, pipeline, 1), base_valid_loss=2.5, valid_loss=1.25)
    advance(bench, pipeline)
    browser, at = browse(bench)
    address = f"{at}pipelines/"
    assert "two stages" in browser.get(address).content.decode()
    page = browser.get(f"{address}{pipeline.id}/").content.decode()
    for shown in ("waits for approval", "2.500", "1.250", "somebody must approve", "not begun"):
        assert shown in page
    chinese = browser.get(f"{address}{pipeline.id}/", headers={"accept-language": "zh-hans"})
    assert "等待批准" in chinese.content.decode()
    assert browser.post(f"{address}{pipeline.id}/approve").status_code == 302
    approved = stages(bench, pipeline)[0]
    assert approved.approved_at is not None
    page = browser.get(f"{address}{pipeline.id}/").content.decode()
    assert f"approved by {approved.approved_by}" in stage_on(page, 1)
    again = browser.post(f"{address}{pipeline.id}/approve", follow=True)
    assert again.status_code == 200
    with tenant_scope(bench.tenant.id):
        assert Pipeline.objects.get(id=pipeline.id).state == "waiting"
    assert browser.post(f"{address}{pipeline.id}/cancel").status_code == 302
    assert "cancelled" in browser.get(f"{address}{pipeline.id}/").content.decode()


def test_a_stage_leads_to_its_files_its_job_and_the_model_it_made(bench: Bench) -> None:
    pipeline = ask(bench, "better", "none")
    advance(bench, pipeline)
    first = job_of(bench, pipeline, 1)
    made = succeed(bench, first, validation_change=BETTER)
    advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        begin(job_of(bench, pipeline, 2))
    with tenant_scope(bench.tenant.id):
        second = job_of(bench, pipeline, 2)
        Event.objects.create(
            job=second, seq=901, type="metrics", code="step_done", message="step",
            data={"step": 3, "total_steps": 12, "train_loss": 4.0},
        )  # fmt: skip
        rows = list(Stage.objects.filter(pipeline=pipeline).order_by("number"))
    page = page_of(bench, f"pipelines/{pipeline.id}/")
    done, going = stage_on(page, 1), stage_on(page, 2)
    at = f"/t/{bench.tenant.slug}/"
    for shown in (
        f"{at}files/{rows[0].training_file_id}/", f"{at}files/{rows[0].validation_file_id}/",
        f"{at}jobs/{first.id}/", f"{at}models/{made.id}/", made.model_name,
        "<dt>Started</dt>", "<dt>Ended</dt>", "<dt>Duration</dt>", ">better</span>",
    ):  # fmt: skip
        assert shown in done, shown
    for shown in (f"{at}files/{rows[1].training_file_id}/", 'data-width="25"', "Step 3 of 12."):
        assert shown in going, shown
    assert "Model made" not in going


def test_a_gate_that_stayed_shut_says_so_at_its_stage(bench: Bench) -> None:
    pipeline = ask(bench, "better", "none")
    advance(bench, pipeline)
    worse = BETTER | {"difference": 0.5, "interval": [0.3, 0.7]}
    succeed(bench, job_of(bench, pipeline, 1), validation_change=worse)
    advance(bench, pipeline)
    assert "not shown to be better" in stage_on(page_of(bench, f"pipelines/{pipeline.id}/"), 1)


@pytest.mark.parametrize(
    ("language", "said"), [("en", "when somebody approves"), ("zh-hans", "获得批准后")]
)
def test_what_waits_for_a_yes_is_seen_wherever_one_looks(
    bench: Bench, language: str, said: str
) -> None:
    """At home, on the list of pipelines, on the list of jobs and on the job; and not afterwards."""
    pipeline = ask(bench, "approval", "none", name="house style")
    advance(bench, pipeline)
    job = job_of(bench, pipeline, 1)
    places = ["", "pipelines/", f"jobs/{job.id}/"]
    assert not any(said in page_of(bench, place, language) for place in places)
    succeed(bench, job)
    advance(bench, pipeline)
    link = f"/t/{bench.tenant.slug}/pipelines/{pipeline.id}/"
    for place in places:
        page = page_of(bench, place, language)
        assert said in page, place
        assert link in page, place
    badge = "waits for approval" if language == "en" else "等待批准"
    listed = page_of(bench, "jobs/", language)
    assert badge in listed
    assert link in listed
    with tenant_scope(bench.tenant.id):
        assert status_of(Pipeline.objects.get()) == "awaiting_approval"
        lifecycle.approve_pipeline(pipeline_id=pipeline.id, actor="test")
    assert not any(said in page_of(bench, place, language) for place in places)
    assert badge not in page_of(bench, "jobs/", language)


def test_the_job_of_a_stage_that_was_tried_again_still_leads_to_its_pipeline(bench: Bench) -> None:
    pipeline = ask(bench, "none", "none", name="house style")
    advance(bench, pipeline)
    job = job_of(bench, pipeline, 1)
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(state=JobState.FAILED)
    advance(bench, pipeline)
    with tenant_scope(bench.tenant.id):
        lifecycle.retry_pipeline(pipeline_id=pipeline.id, by=somebody(bench.tenant.id))
    page = page_of(bench, f"jobs/{job.id}/")
    assert f"/pipelines/{pipeline.id}/" in page
    assert "stage 1 of 2" in page


def test_a_held_pipeline_shows_time_and_memory_as_well_as_tokens(bench: Bench) -> None:
    Pace.objects.all().delete()  # other tests may have measured such jobs
    pipeline = ask(bench, "none", "none", auto_start=False)
    reading = page_of(bench, f"pipelines/{pipeline.id}/")
    assert "The files of all stages are being read." in reading
    advance(bench, pipeline)
    page = page_of(bench, f"pipelines/{pipeline.id}/")
    assert "a worker tries a few steps of it" in page
    assert "<dt>Trained tokens</dt>" in page
    assert "<dt>Time</dt>" not in page
    measured(bench, pipeline)
    page = page_of(bench, f"pipelines/{pipeline.id}/")
    assert "a worker tries a few steps of it" not in page
    for figure in ("<dt>Time</dt>", "<dt>Peak memory</dt>", "<dt>Steps</dt>"):
        assert figure in page, figure
    for number in (1, 2):
        assert "<dt>Time, expected</dt>" in stage_on(page, number)
        assert "<dt>Peak memory, expected</dt>" in stage_on(page, number)


def measured(bench: Bench, pipeline: Pipeline) -> None:
    """As the rehearsals that a held pipeline asked for leave it."""
    machine = {
        "device": "cpu", "precision": "fp32", "threads": 1, "lanes": 1,
        "gradient_checkpointing": False, "micro_batch_tokens": 2048,
    }  # fmt: skip
    found = pace.Measured(token_seconds=0.01, peak_memory_mb=700)
    with tenant_scope(bench.tenant.id):
        for _, job in open_stages(Pipeline.objects.select_related("base").get(id=pipeline.id)):
            pace.learn(resolved(job), machine, found)
