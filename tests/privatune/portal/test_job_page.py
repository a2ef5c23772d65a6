"""A job's page says what is left while it trains, and of a result that it is no good."""

from pathlib import Path

import pytest
from django.utils.translation import override

from finetune.events import LossAtChance
from finetune.models import Artifact, Event, Job, Pace
from finetune.services.jobs.validation import VALIDATE
from finetune.states import JobState
from finetune.work.perform import perform
from privatune.templatetags.figures import grouped, time_left
from tenants.database.scope import tenant_scope
from tests.finetune.api.customers import Customer
from tests.finetune.api.rows import give_result
from tests.fixtures.jobs import new_bench
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

WARNED = LossAtChance(end_loss=10.8102, guessing_loss=10.8027)
CHINESE = "训练结束时的损失为 10.8102，并不比在全部词元中随机猜测（10.8027）更好。"

LOST = {"base": 0.75, "tuned": 0.5, "difference": -0.25, "interval": [-0.3, -0.2], "p_value": 0.01}
RETRIEVAL = {"queries": 1, "documents": 9, "measures": {"mrr@10": LOST}}


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_warning_and_what_a_search_finds_are_told_in_the_persons_language(
    tiny_base: Path, language: str
) -> None:
    bench = new_bench(tiny_base)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    job = bench.create()
    give_result(customer, job.public_id)
    with tenant_scope(customer.tenant_id):
        Artifact.objects.update(report={"warnings": [WARNED.entry()], "retrieval": RETRIEVAL})
    address = f"/t/{customer.slug}/jobs/{job.id}/"
    page = browser_of(member(customer)).get(address, headers={"accept-language": language})
    assert page.status_code == 200
    assert (CHINESE if language == "zh-hans" else WARNED.text) in page.content.decode()
    assert "loss_at_chance" in page.content.decode()
    chinese = ("检索效果", "-0.250：不如基础模型", "1 条查询")
    english = ("What it finds", "-0.250: worse than the base", "1 query of the validation rows")
    for words in chinese if language == "zh-hans" else english:
        assert words in page.content.decode()


@pytest.mark.parametrize(
    ("state", "shown"), [(JobState.RUNNING, True), (JobState.PAUSED, False)], ids=str
)
def test_what_is_left_is_told_while_the_job_trains_and_not_while_it_waits(
    tiny_base: Path, state: JobState, shown: bool
) -> None:
    bench = new_bench(tiny_base)
    job = bench.create()
    metrics = {"step": 2, "total_steps": 30, "train_loss": 4.96, "seconds_left": 2122.4}
    with tenant_scope(bench.tenant.id):
        Event.objects.create(
            job=job, seq=901, type="metrics", code="step_done", message="step 2", data=metrics
        )
        Job.objects.filter(id=job.id).update(state=state)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    page = browser_of(member(customer)).get(f"/t/{customer.slug}/jobs/{job.id}/").content.decode()
    assert "2 / 30" in page
    assert ("Step 2 of 30." in page) == shown
    assert ("35 minutes left" in page) == shown
    assert (" left<" in page) == shown


def test_figures_are_written_for_people() -> None:
    left = {
        0.4: "less than a minute left",
        61: "1 minute left",
        125: "2 minutes left",
        3599: "1 h 0 min left",
        7500: "2 h 5 min left",
    }
    assert {seconds: time_left(seconds) for seconds in left} == left
    with override("zh-hans"):
        assert time_left(2122) == "还剩 35 分钟"
        assert grouped(10_000_000) == "10,000,000"


@pytest.mark.parametrize(
    ("language", "titled"), [("en", "What this job will take"), ("zh-hans", "此任务将需要的资源")]
)
def test_a_held_job_shows_what_it_will_take_and_starts_by_a_button(
    tiny_base: Path, language: str, titled: str
) -> None:
    Pace.objects.all().delete()  # other tests may have measured such jobs
    bench = new_bench(tiny_base)
    job = bench.create(auto_start=False)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    browser, address = browser_of(member(customer)), f"/t/{customer.slug}/jobs/{job.id}/"
    page = browser.get(address, headers={"accept-language": language}).content.decode()
    assert titled in page
    tokens = f"{bench.job(job).resolved['trained_tokens']:,}"
    assert f"<dd>{tokens}</dd>" in page
    if language == "en":
        assert "a worker tries a few steps of it" in page
        assert "Start training" in page
    browser.post(f"{address.rstrip('/')}/resume")
    assert bench.job(job).state == JobState.QUEUED
    assert titled not in browser.get(address).content.decode()


def test_a_job_that_ended_shows_what_it_took_beside_what_was_expected(tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    job = bench.create()
    took = {"seconds": 61.4, "training_seconds": 40.0, "peak_memory_mb": 1701, "steps": 6}
    expected = {"seconds": 59.0, "training_seconds": None, "peak_memory_mb": 1690, "steps": 6}
    receipt = {"took": took | {"trained_tokens": 80}, "expected": expected, "errors": {}}
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(state=JobState.SUCCEEDED, receipt=receipt)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    page = browser_of(member(customer)).get(f"/t/{customer.slug}/jobs/{job.id}/").content.decode()
    assert "<td>59 s</td><td>1 min 1 s</td>" in page
    assert "<td>–</td><td>40 s</td>" in page
    assert "<td>1,690 MB</td><td>1,701 MB</td>" in page
