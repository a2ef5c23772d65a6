"""What a job waits for or does, in words; and what its pages show of it."""

import re
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pytest
from django.utils import timezone, translation

from finetune.api.wire.jobs import job_object
from finetune.events import (
    BaseEvaluated,
    JobStarted,
    Message,
    ReadingGoesOn,
    StepDone,
    TrainingDone,
    TrainingPlanned,
    ValidationGoesOn,
)
from finetune.events.jobs import JobGivenBack, JobWaits
from finetune.events.waits import NoGpu, StorageFull
from finetune.models import Dataset, Event, Job, Run, Validation
from finetune.services.jobs import lifecycle
from finetune.services.jobs.steps import note, step, take_over
from finetune.states import JobState, LeaseState
from privatune.portal import phases
from tenants.database.scope import tenant_scope
from tenants.dates import end_of, last_day
from tenants.models import License
from tests.finetune.api.customers import Customer
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

SHANGHAI = ZoneInfo("Asia/Shanghai")
PLANNED = TrainingPlanned(
    rows=9, trained_tokens_per_epoch=9, total_steps=24, adapter_parameters=1, precision="fp32",
    device="cpu",
)  # fmt: skip
STARTED = JobStarted(run="r", epoch=1, isolation="full")


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def queued(bench: Bench) -> Job:
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(state=JobState.QUEUED)
        Run.objects.create(job=job)
    return bench.job(job)


def phase(bench: Bench, job: Job) -> str:
    with tenant_scope(bench.tenant.id):
        return phases.told(Job.objects.get(id=job.id))


def test_before_it_is_queued_a_job_waits_for_its_file_and_then_for_a_worker(bench: Bench) -> None:
    job = bench.create(file=bench.add_file(jsonl(chat_rows(3)), status="uploaded"))
    assert phase(bench, job) == "Waiting for the check of rows.jsonl."
    with tenant_scope(bench.tenant.id):
        job.training_file.status = "processed"
        job.training_file.save(update_fields=["status"])
    assert phase(bench, job) == "Waiting for a worker to read the data."
    with tenant_scope(bench.tenant.id):
        Validation.objects.filter(job=job).update(state=LeaseState.LEASED)
    assert phase(bench, job) == "The data is being read for the model."


def test_a_queued_job_says_its_place_or_what_it_waits_for(bench: Bench) -> None:
    first, second = queued(bench), queued(bench)
    assert phase(bench, first).endswith("queue: 1.")
    assert phase(bench, second).endswith("queue: 2.")
    with tenant_scope(bench.tenant.id):
        note(first, JobWaits.of(StorageFull()))
        Run.objects.filter(job=first).update(not_before=timezone.now() + timedelta(hours=1))
    assert phase(bench, first) == "Waiting: The storage is full."


def test_a_queued_job_says_what_workers_lack_until_one_takes_it(bench: Bench) -> None:
    job = queued(bench)
    with tenant_scope(bench.tenant.id):
        note(job, JobWaits.of(NoGpu()))
        Run.objects.filter(job=job).update(wait_reason=NoGpu().text)
    assert phase(bench, job).startswith("Waiting: the training began on a GPU")
    with translation.override("zh-hans"):
        assert "GPU 的工作机器" in phase(bench, job)
    with tenant_scope(bench.tenant.id):
        note(job, JobGivenBack())
    assert phase(bench, job).endswith("queue: 1.")


def test_the_api_tells_the_phase_and_the_place_of_one_job(bench: Bench) -> None:
    queued(bench)
    job = queued(bench)

    def told() -> Any:
        with tenant_scope(bench.tenant.id):
            return job_object(Job.objects.get(id=job.id))["phase"]

    words = "Waiting for a worker; place in your organisation's queue: 2."
    assert told() == {"code": "queued", "message": words, "place": 2}
    with tenant_scope(bench.tenant.id):
        note(job, JobWaits.of(StorageFull()))
        Run.objects.filter(job=job).update(not_before=timezone.now() + timedelta(hours=1))
    waits = {"code": "job_waits", "message": "Waiting: The storage is full.", "place": None}
    assert told() == waits
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(state=JobState.SUCCEEDED)
    assert told() is None


def test_a_job_that_is_held_says_so_and_one_that_was_paused_by_hand_does_not(bench: Bench) -> None:
    held, paused = bench.create(), queued(bench)
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=held.id).update(state=JobState.PAUSED)
        lifecycle.pause_job(job_id=paused.id, actor="test")
    assert phase(bench, held) == "Ready, and held: it starts when you say so."
    assert phase(bench, paused) == ""


def test_a_running_job_says_what_it_does(bench: Bench, tiny_base: Path) -> None:
    job = queued(bench)
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(validation_file=job.training_file)
        step(job, JobState.RUNNING, STARTED)

    def after(message: Message, **figures: float) -> str:
        kind = {"type": "metrics"} if figures else {}
        with tenant_scope(bench.tenant.id):
            take_over(job, [message.entry(figures) | kind])
        return phase(bench, job)

    assert phase(bench, job).startswith("Preparing: ")
    assert after(ReadingGoesOn(rows=1200, of=3000)) == "Reading the data: row 1,200 of 3,000."
    assert after(PLANNED) == "Evaluating the base model."
    assert after(ValidationGoesOn(rows=5, of=9)) == "Evaluating the base model: row 5 of 9."
    assert after(BaseEvaluated(base_valid_loss=2.0)) == "Training begins."
    done = StepDone(step=3, total_steps=24)
    assert after(done, step=3, total_steps=24, seconds_left=1.0) == "Step 3 of 24."
    assert after(ValidationGoesOn(rows=5, of=9)) == "Evaluating: row 5 of 9."
    done = StepDone(step=24, total_steps=24)
    assert after(done, step=24, total_steps=24, seconds_left=0.0) == "Writing the result."
    assert after(TrainingDone(steps=24)).startswith("Packaging: ")
    with tenant_scope(bench.tenant.id):
        lifecycle.pause_job(job_id=job.id, actor="test")
    assert phase(bench, job) == "The training stops as soon as a checkpoint is written."
    with tenant_scope(bench.tenant.id):
        lifecycle.cancel_job(job_id=job.id, actor="test")
    assert phase(bench, job) == "The training is being stopped."


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_jobs_page_shows_both_files_and_how_long_it_took(bench: Bench, language: str) -> None:
    held_out = bench.add_file(jsonl(chat_rows(3)))
    job = bench.create(validation_file=held_out.id)
    began = timezone.now() - timedelta(hours=3)
    with tenant_scope(bench.tenant.id):
        Job.objects.filter(id=job.id).update(
            state=JobState.FAILED, started_at=began, finished_at=began + timedelta(seconds=80)
        )
        Event.objects.create(
            job=job, seq=901, type="metrics", code="step_done", message="",
            data={"step": 2, "total_steps": 2, "valid_loss": 1.5},
        )  # fmt: skip
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    browser = browser_of(member(customer))
    browser.cookies["zone"] = "Asia/Shanghai"
    for given in (str(job.id), job.public_id):
        page = browser.get(
            f"/t/{customer.slug}/jobs/{given}/", headers={"accept-language": language}
        ).content.decode()
        for file in (job.training_file, held_out):
            assert f"/files/{file.id}/" in page
        assert ("1 min 20 s" if language == "en" else "1 分 20 秒") in page
        assert "1.500" in page
        assert f"{began.astimezone(SHANGHAI):%Y-%m-%d %H:%M}" in page
    assert page.count(f">{job.public_id}<") == 1, "a job without a name is named by its id, once"


def test_addresses_are_taken_with_and_without_a_slash(bench: Bench) -> None:
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    browser = browser_of(member(customer))
    room = f"/t/{customer.slug}"
    assert browser.get(f"{room}/jobs/new/?training_file=x").headers["location"] == (
        f"{room}/jobs/new?training_file=x"
    )
    for address in ("settings/", "jobs/new/", "jobs", "files", "keys", "audit/export/"):
        answer = browser.get(f"{room}/{address}")
        assert answer.status_code in (301, 302), address
        assert answer.headers["location"] in (f"{room}/{address.rstrip('/')}", f"{room}/{address}/")
    for address in ("jobs/ftjob-00000000000000000000000000000000/", "jobs/nonsense/", "nonsense/"):
        assert browser.get(f"{room}/{address}").status_code == 404, address


def test_files_are_told_apart_and_results_stand_aside(bench: Bench) -> None:
    bench.add_file(b"step,loss\n", purpose="fine-tune-results")
    bench.add_file(b"?", status="error")
    checked = bench.add_file(jsonl(chat_rows(7)), status="uploaded")
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    with tenant_scope(bench.tenant.id):
        Dataset.objects.create(file=checked, rows=7, state="ready")
    browser = browser_of(member(customer))
    browser.cookies["zone"] = "Asia/Shanghai"
    form = browser.get(f"/t/{customer.slug}/jobs/new").content.decode()
    made = f"{checked.created_at.astimezone(SHANGHAI):%Y-%m-%d %H:%M}"
    assert f"rows.jsonl · 7 rows · 1.0 KB · {made} · being checked" in form
    assert form.count("rows.jsonl · ") == 3, "in each choice the one that may be usable"
    listed = browser.get(f"/t/{customer.slug}/files/").content.decode()
    assert listed.count('<tr id="file-') == 2
    others = browser.get(f"/t/{customer.slug}/files/?kind=other").content.decode()
    assert others.count('<tr id="file-') == 1
    assert "result of a job" in others
    home = browser.get(f"/t/{customer.slug}/").content.decode()
    assert re.search(r'Usable training files</div><div class="h1 m-0">0<', home)


@pytest.mark.parametrize("zone", ["UTC", "Asia/Shanghai", "America/Los_Angeles"])
def test_a_licence_shows_the_last_day_that_was_given(bench: Bench, zone: str) -> None:
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    browser = browser_of(member(customer))
    browser.cookies["zone"] = zone
    for end, state in ((date(2099, 12, 31), "active"), (date(2026, 1, 31), "expired"), (None, "")):
        with tenant_scope(bench.tenant.id):
            License.objects.update(valid_until=end_of(end) if end else None)
        page = browser.get(f"/t/{customer.slug}/licences/").content.decode()
        assert (f"{end} (UTC)" if end else "without end") in page
        assert f"{state}<" in page


def test_a_day_ends_at_utcs_midnight() -> None:
    end = end_of(date(2026, 2, 28))
    assert end == datetime(2026, 3, 1, tzinfo=UTC)
    assert last_day(end) == last_day(end.astimezone(SHANGHAI)) == date(2026, 2, 28)
    assert last_day(end + timedelta(microseconds=1)) == date(2026, 3, 1)
    assert last_day(datetime(2026, 2, 28, 23, 59, 59, tzinfo=UTC)) == date(2026, 2, 28)
