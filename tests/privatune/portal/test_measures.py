"""A job's page shows what its method measures, under its own name, and where the job comes from."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.db import transaction

from finetune import selectors
from finetune.models import Artifact, Event, Job
from finetune.trainer.objectives import METHODS
from privatune.portal import measures
from privatune.portal.words import METHODS_TOLD
from tenants.database.scope import tenant_scope
from tests.finetune.api.customers import Customer
from tests.finetune.api.rows import give_checkpoint, give_result
from tests.fixtures.jobs import Bench, new_bench
from tests.fixtures.people import browser_of, member
from tests.privatune.portal.pages import Page
from tests.privatune.portal.test_accessible import shown_in

OWN = {
    "supervised": "token accuracy", "pretrain": "token accuracy",
    "dpo": "preferred answers favoured", "orpo": "preferred answers favoured",
    "simpo": "preferred answers favoured", "kto": "reward margin", "reinforcement": "reward",
    "reward": "preferred answers favoured",
    "contrastive": "queries nearest to their own text", "cosent": None,
    "rerank": "documents judged rightly",
}  # fmt: skip
POINT = {
    "step": 4, "total_steps": 8, "train_loss": 0.6, "train_rewards_accuracies": 0.75,
    "train_rewards_chosen": 0.5, "train_rewards_rejected": -0.25, "train_rewards_margins": 0.75,
    "valid_loss": 0.5, "valid_rewards_accuracies": 1.0, "valid_rewards_margins": 0.875,
}  # fmt: skip


@pytest.mark.parametrize("method", METHODS_TOLD)
def test_each_method_is_drawn_by_its_own_measures_and_none_is_left_out(method: str) -> None:
    job = Job(method=method, requested={})
    first, *further = measures.charts(job)
    assert first.get("own") == OWN[method]
    drawn = [line["of"] for chart in (first, *further) for line in chart["lines"]]
    wanted = set(METHODS[method].train_columns) | set(METHODS[method].valid_columns)
    if method == "reinforcement":  # the chart of its answers has the others
        wanted -= {f"{side}_{name}" for side in ("train", "valid") for name in measures.OF_ANSWERS}
    assert set(drawn) == wanted
    assert len(drawn) == len(wanted), "each once"
    for chart in (first, *further):
        inks = [(line["ink"], line.get("dots"), line.get("dash")) for line in chart["lines"]]
        assert len(set(inks)) == len(inks), f"{chart['at']} has two lines alike"


def customer_of(bench: Bench) -> Customer:
    return Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")


def page_of(bench: Bench, job: Job, language: str = "en") -> str:
    address = f"/t/{bench.tenant.slug}/jobs/{job.id}/"
    browser = browser_of(member(customer_of(bench)))
    return str(browser.get(address, headers={"accept-language": language}).content.decode())


def preferring(bench: Bench) -> Job:
    """A job that learns from preferences, with a step told."""
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(method="dpo")
        Event.objects.create(
            job=job, seq=901, type="metrics", code="step_done", message="step", data=POINT
        )
    return job


@pytest.mark.django_db
def test_rewards_and_margins_of_a_step_and_of_the_validation_rows_are_told(
    tiny_base: Path,
) -> None:
    bench = new_bench(tiny_base)
    job = preferring(bench)
    page = page_of(bench, job)
    row = '<th scope="row">{}</th><td class="text-end">{}</td><td class="text-end">{}</td>'
    assert row.format("preferred answers favoured", "75.0%", "100.0%") in page
    assert row.format("reward margin", "0.750", "0.875") in page
    assert row.format("reward of the better answers", "0.500", "–") in page
    assert "token accuracy" not in page
    assert '<dd id="job-method">Preferences: favour the better of two answers (DPO)</dd>' in page
    chinese = page_of(bench, job, "zh-hans")
    assert row.format("奖励差", "0.750", "0.875") in chinese


@pytest.mark.django_db
def test_a_job_leads_to_the_model_it_goes_on_from_and_on_from_its_checkpoints(
    tiny_base: Path,
) -> None:
    bench = new_bench(tiny_base)
    first, second = bench.create(), bench.create()
    name = give_result(customer_of(bench), first.public_id)
    give_checkpoint(customer_of(bench), first.public_id, 3)
    with tenant_scope(bench.tenant.id):
        made = Artifact.objects.get(model_name=name)
        start = {"model": f"{name}:ckpt-step-3", "step": 3}
        Job.objects.filter(id=second.id).update(parent=made, start=start)
    page = page_of(bench, second)
    assert f'<a href="/t/{bench.tenant.slug}/models/{made.id}/">{name}:ckpt-step-3</a>' in page
    told = page_of(bench, first)
    assert "Checkpoints" in told
    train_on = re.search(r'jobs/new\?model=([^"]+ckpt-step-3)"', told)
    assert train_on is not None
    with tenant_scope(bench.tenant.id):
        Artifact.objects.filter(id=made.id).update(deleted_at=made.created_at)
        assert not selectors.artifacts().exists()
    assert "ckpt-step-3" not in page_of(bench, first), "nobody can train on from it any more"
    assert f"/models/{made.id}/" not in page_of(bench, second)


@pytest.fixture(scope="module")
def drawn(tiny_base: Path, django_db_setup: None, django_db_blocker: Any) -> Page:
    """Rendered before playwright's loop runs; what it shows is taken back."""
    with django_db_blocker.unblock(), transaction.atomic():
        bench = new_bench(tiny_base)
        job = preferring(bench)
        with tenant_scope(bench.tenant.id):
            Job.objects.filter(id=job.id).update(state="succeeded")
        page = Page("job", f"/t/{bench.tenant.slug}/jobs/{job.id}/", page_of(bench, job))
        transaction.set_rollback(True)
    return page


@pytest.mark.browser
def test_preferences_are_drawn_with_their_rewards_below(drawn: Page, chromium: Any) -> None:
    answer = {"points": [POINT | {"step": n} for n in (1, 2, 3)], "last": 3, "final": True}

    with shown_in(chromium, "en") as show:
        view = show(drawn)
        view.route(re.compile(r"/curve\?"), lambda route: route.fulfill(body=json.dumps(answer)))
        view.reload()
        view.wait_for_selector("#curve-rewards canvas")
        legends = {
            at: view.locator(f"#{at} .u-legend .u-label").all_inner_texts()
            for at in ("curve", "curve-rewards")
        }
        assert view.locator("#curve-logps canvas").count() == 0, "of which nothing was told"
        assert view.locator("#curve-logps").is_hidden()
    own = "preferred answers favoured"
    assert legends["curve"] == [
        "step",
        "training loss",
        "validation loss",
        own,
        f"{own}, validation",
    ]
    assert "reward margin" in legends["curve-rewards"]
