"""The page of a job that learns from rewards, in both languages: its two drawings, and the answers
that come by themselves while what a reader has opened or turned to stays."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from django.utils import timezone

from finetune.events import JobStarted, StepDone
from finetune.models import CatalogModel, Job
from finetune.services.jobs.steps import note, take_over
from finetune.states import JobState
from tenants.database.scope import tenant_scope
from tenants.models import License
from tenants.services.files import create_file, keep
from tenants.services.vaults import open_vault
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_samples
from tests.fixtures.browser import faultless_page
from tests.fixtures.people import member
from tests.privatune.portal.test_files_browser import Scene, aside, fetched_again, look, sign_in
from tests.privatune.portal.test_samples import HOSTILE

pytestmark = pytest.mark.browser
__all__ = ["look"]
LANGUAGES = ("en", "zh-hans")


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    """Rows are made before playwright's loop runs."""
    with django_db_blocker.unblock():
        customers = {language: new_customer(models=[language]) for language in LANGUAGES}
        people = {language: member(each).email for language, each in customers.items()}
        with serving_http("privatune.asgi:application") as (url, _):
            for language in LANGUAGES:
                shelve(language)
            yield Scene(url, customers, people)


def learning_job(customer: Customer) -> Job:
    with tenant_scope(customer.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"rows"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        licence = License.objects.get()
        job = Job.objects.create(
            base=CatalogModel.objects.get(name=licence.model), license=licence,
            training_file=file, method="reinforcement", state=JobState.RUNNING,
            started_at=timezone.now(),
        )  # fmt: skip
        return note(job, JobStarted(run="r", epoch=1, isolation="full"))


def step_of(customer: Customer, job: Job, step: int, text: str) -> None:
    figures = {
        "step": step, "total_steps": 24, "train_loss": 0.1, "train_reward": step / 24,
        "train_reward_std": 0.3, "train_completion_length": 40.0 - step, "train_truncated": 0.25,
        "train_silent_groups": 0.5, "train_grader_errors": 0.0, "train_kl": step / 1000,
        "valid_loss": -0.5, "valid_reward": 0.5, "valid_completion_length": 30.0,
        "seconds_left": 130,
    }  # fmt: skip
    give_samples(
        customer, job.public_id, step, text, HOSTILE, text * 100,
        reasoning="so", scores={"place": 0.5}, truncated=True, shortened=True,
    )  # fmt: skip
    entry = StepDone(step=step, total_steps=24).entry(figures) | {"type": "metrics"}
    with tenant_scope(job.tenant_id):
        take_over(job, [entry])


@pytest.mark.parametrize("language", LANGUAGES)
def test_answers_come_by_themselves_and_what_was_turned_to_stays(
    scene: Scene,
    chromium: Any,
    look: Callable[[Any, str, str], None],
    language: str,
) -> None:
    customer = scene.customers[language]
    job = aside(lambda: learning_job(customer))
    aside(lambda: step_of(customer, job, 1, "一二三"))
    aside(lambda: step_of(customer, job, 2, "四五六"))
    with faultless_page(chromium, scene.url) as page:
        page.on("dialog", lambda dialog: pytest.fail(f"it ran: {dialog.message}"))
        sign_in(page, scene.people[language], language)
        page.goto(f"/t/{customer.slug}/jobs/{job.public_id}")
        page.wait_for_selector("#sample-2-1")
        page.wait_for_selector("#curve-answers canvas")
        legend = page.locator("#curve-answers .u-legend .u-label").all_inner_texts()
        assert len(legend) == 7, f"the step, and six curves: {legend}"
        legend = page.locator("#curve .u-legend .u-label").all_inner_texts()
        assert len(legend) == 5, f"the step, the loss and three of rewards: {legend}"
        assert page.locator("#samples script, #samples img").count() == 0
        assert HOSTILE in page.locator("#sample-2-2").inner_text()
        look(page, "job-rewards", language)

        aside(lambda: step_of(customer, job, 3, "七八九"))
        page.wait_for_selector("#sample-3-1")
        page.click("#samples-steps a[rel=prev]")
        page.wait_for_selector("#sample-2-1")
        page.click("#reasoning-2-1 summary")
        aside(lambda: step_of(customer, job, 4, "十"))
        for _ in range(4):  # two seconds each: longer than from one look for the newest to the next
            fetched_again(page, "job")
        assert "4 / 24" in page.locator("#job").inner_text()
        assert page.get_attribute("#reasoning-2-1", "open") is not None
        page.locator("#samples-steps a").last.click()
        page.wait_for_selector("#sample-4-1")
        aside(lambda: step_of(customer, job, 5, "百"))
        page.wait_for_selector("#sample-5-1")
