"""Pages that change by themselves, in both languages: a table whose columns have other names, its
problems, the proposed mapping and one click that makes it usable; and a job that is training."""

import re
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

import pytest
from django.db import connections
from django.utils import timezone

from finetune.events import JobCancelled, JobStarted, StepDone
from finetune.models import CatalogModel, Dataset, Job
from finetune.services.files.datasets import request_check
from finetune.services.jobs.steps import note, step, take_over
from finetune.states import JobState
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.licences import issue_license
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.fixtures.browser import WIDE, faultless_page
from tests.fixtures.language import english_sentences
from tests.fixtures.people import PASSWORD, member

pytestmark = pytest.mark.browser

T = TypeVar("T")
NARROW = {"width": 390, "height": 844}
WORDS = {
    "en": {"sign_in": "Sign in", "files": "Files", "usable": "usable",
           "read_so": "Read the columns so", "again": "Check again"},
    "zh-hans": {"sign_in": "登录", "files": "文件", "usable": "可用",
                "read_so": "按此读取各列", "again": "重新检查"},
}  # fmt: skip
TABLE = "问题,背景,回答,\r\n" + "".join(
    f"今天第{n}个问题是什么,我们在公司,这是第{n}个回答,\r\n" for n in range(6)
)


@dataclass(frozen=True)
class Scene:
    url: str
    customers: dict[str, Customer]
    people: dict[str, str]


@pytest.fixture(scope="module")
def scene(django_db_setup: None, django_db_blocker: Any) -> Iterator[Scene]:
    """Rows are made before playwright's loop runs."""
    with django_db_blocker.unblock():
        customers = {language: new_customer(name="Acme 工厂") for language in WORDS}
        people = {language: member(each).email for language, each in customers.items()}
        with serving_http("privatune.asgi:application") as (url, _):
            for each in customers.values():
                shelve(each.slug)
            yield Scene(url, customers, people)
        for each in customers.values():
            with tenant_scope(each.tenant_id):
                Dataset.objects.exclude(base=None).delete()


def aside(work: Callable[[], T]) -> T:
    """In a thread, as Django refuses the database beside a running loop."""

    def closing() -> T:
        try:
            return work()
        finally:
            connections.close_all()

    with ThreadPoolExecutor(1) as thread:
        return thread.submit(closing).result()


def check_files(customer: Customer) -> None:
    """As a worker does."""
    aside(customer.check_files)


def read_for_a_model(customer: Customer) -> None:
    """Asks for a reading that no worker takes up: the page of the file looks for its end."""

    def ask() -> None:
        with tenant_scope(customer.tenant_id):
            file = StoredFile.objects.get()
            base = CatalogModel.objects.get(name=customer.slug)
            request_check(file=file, base=base, max_length=64)

    aside(ask)


def training_job(customer: Customer) -> Job:
    with tenant_scope(customer.tenant_id):
        job = Job.objects.create(
            base=CatalogModel.objects.get(name=customer.slug),
            license=issue_license(tenant_id=customer.tenant_id, model=customer.slug, actor="test"),
            training_file=StoredFile.objects.get(),
            state=JobState.RUNNING,
            started_at=timezone.now(),
        )
        return note(job, JobStarted(run="r", epoch=1, isolation="full"))


def step_of(job: Job, step: int) -> None:
    figures = {"step": step, "total_steps": 24, "train_loss": 2.5 - step / 10, "seconds_left": 130}
    entry = StepDone(step=step, total_steps=24).entry(figures) | {"type": "metrics"}
    with tenant_scope(job.tenant_id):
        take_over(job, [entry])


def end_of(job: Job) -> None:
    with tenant_scope(job.tenant_id):
        step(job, JobState.CANCELLED, JobCancelled())


def sign_in(page: Any, email: str, language: str) -> None:
    page.goto("/accounts/login/")
    if language != "en":
        page.click(f"button[value={language}]")
    page.fill("#id_login", email)
    page.fill("#id_password", PASSWORD)
    page.click(f"main button:has-text('{WORDS[language]['sign_in']}')")
    page.wait_for_url(re.compile(r"/t/[^/]+/$"))


@pytest.fixture
def look(request: pytest.FixtureRequest) -> Callable[[Any, str, str], None]:
    """A screenshot in two widths, and that nothing is wider than the screen."""
    shots = Path(request.config.rootpath) / "var" / "screenshots"
    shots.mkdir(parents=True, exist_ok=True)

    def shoot(page: Any, name: str, language: str) -> None:
        if language != "en":
            assert english_sentences(page.content()) == [], name
        for size, label in ((WIDE, "wide"), (NARROW, "narrow")):
            page.set_viewport_size(size)
            width = page.evaluate("document.documentElement.scrollWidth")
            assert width <= size["width"], f"{name} is wider than the {label} screen"
            page.screenshot(path=shots / f"{name}-{label}-{language}.png", full_page=True)
        page.set_viewport_size(WIDE)

    return shoot


@pytest.mark.parametrize("language", WORDS)
def test_a_proposed_mapping_is_taken_with_one_click(
    scene: Scene, chromium: Any, look: Callable[[Any, str, str], None], language: str
) -> None:
    words, customer = WORDS[language], scene.customers[language]
    with faultless_page(chromium, scene.url) as page:
        sign_in(page, scene.people[language], language)
        page.click(f"nav >> text={words['files']}")
        page.set_input_files(
            "#file", {"name": "表格.csv", "mimeType": "text/csv", "buffer": TABLE.encode("gbk")}
        )
        page.wait_for_url(re.compile(r"/files/[0-9a-f-]{36}/"))
        check_files(customer)
        page.wait_for_selector("table.problems")
        look(page, "file-columns-proposed", language)

        page.click(f"button:has-text('{words['read_so']}')")
        check_files(customer)
        page.wait_for_selector(f".bg-green-lt:has-text('{words['usable']}')")
        look(page, "file-columns-mapped", language)
        assert page.input_value("#columns") == "instruction=问题, input=背景, output=回答"

        read_for_a_model(customer)
        page.reload()
        columns = page.locator("#columns")
        columns.fill("question=问题")
        for _ in range(2):
            fetched_again(page, "readings")
        look(page, "file-columns-while-read", language)
        assert columns.input_value() == "question=问题"
        assert page.evaluate("document.activeElement.id") == "columns"
        page.click(f"button:has-text('{words['again']}')")
        page.wait_for_selector(".alert-danger")
        look(page, "file-columns-refused", language)


def fetched_again(page: Any, part: str) -> None:
    page.evaluate("part => { document.getElementById(part).className = 'old' }", part)
    page.wait_for_selector(f"#{part}:not(.old)", state="attached")


@pytest.mark.parametrize("language", WORDS)
def test_the_page_of_a_job_that_trains_keeps_what_its_reader_does(
    scene: Scene, chromium: Any, look: Callable[[Any, str, str], None], language: str
) -> None:
    """Runs behind the test above, whose file it takes."""
    customer = scene.customers[language]
    job = aside(lambda: training_job(customer))
    with faultless_page(chromium, scene.url) as page:
        sign_in(page, scene.people[language], language)
        page.goto(f"/t/{customer.slug}/jobs/{job.public_id}")
        aside(lambda: step_of(job, 1))
        page.wait_for_selector("#job-left")
        page.click("#job-events summary")
        page.focus("#job-pause button")
        page.evaluate("getSelection().selectAllChildren(document.querySelector('#job-events li'))")
        chosen = page.evaluate("String(getSelection())")
        assert chosen
        page.evaluate("scrollTo(0, 80)")
        for number in (2, 3):
            aside(lambda number=number: step_of(job, number))
            fetched_again(page, "job")
            page.wait_for_function(
                "n => document.getElementById('job-phase').innerText.includes(n)", arg=f"{number}"
            )
        assert page.get_attribute("#job-events", "open") is not None
        assert page.evaluate("document.activeElement.closest('form').id") == "job-pause"
        assert page.evaluate("String(getSelection())") == chosen
        assert page.evaluate("scrollY") == 80
        assert page.evaluate("document.querySelector('.progress-bar').style.width") == "12%"
        names = page.locator("#curve .u-legend .u-label").all_inner_texts()
        assert len(names) == 2, f"a step and the one loss that there is: {names}"
        look(page, "job-training", language)

        page.click("#job-pause button")
        page.wait_for_selector("#job-withdraw")
        look(page, "job-pausing", language)
        page.on("dialog", lambda dialog: dialog.accept())
        page.click("#job-cancel button")
        page.wait_for_selector("#job:not(:has(#job-cancel))")
        look(page, "job-cancelling", language)
        page.goto(f"/t/{customer.slug}/jobs/")
        page.wait_for_selector("#job-table[hx-get]")
        aside(lambda: end_of(job))
        page.wait_for_selector("#job-table:not([hx-get])")
        look(page, "jobs", language)
