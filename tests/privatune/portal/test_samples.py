"""The answers that a model learns from, on the job's page: as they come, step by step, as text."""

import re
from typing import Any

import pytest

from finetune.models import Job
from finetune.states import JobState
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tenants.roles import Role
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_samples, running_job
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

HOSTILE = '<script>alert(1)</script><img src=x onerror="alert(2)">{{ 7|add:7 }} hx-get="/"'


@pytest.fixture
def customer() -> Customer:
    shelve()
    return new_customer(models=["shelf"])


@pytest.fixture
def job(customer: Customer) -> Job:
    return running_job(customer, method="reinforcement")


class Reader:
    def __init__(self, customer: Customer, job: Job, role: Role = Role.VIEWER) -> None:
        self.address = f"/t/{customer.slug}/jobs/{job.id}/"
        self.browser = browser_of(member(customer, role))

    def page(self, place: str = "samples", language: str = "en", **headers: str) -> str:
        headers |= {"accept-language": language}
        answer: Any = self.browser.get(self.address + place, headers=headers)
        assert answer.status_code == 200, answer.content
        return str(answer.content.decode())

    def part(self, place: str = "samples") -> str:
        return self.page(place, **{"HX-Request": "true"})


def test_the_jobs_page_asks_for_them_and_reads_none_itself(customer: Customer, job: Job) -> None:
    give_samples(customer, job.public_id, 1, "rhabarber")
    reader = Reader(customer, job)
    page = reader.page("")
    assert f'hx-get="{reader.address}samples" hx-trigger="load"' in page
    assert "rhabarber" not in page
    with tenant_scope(customer.tenant_id):
        assert not AuditEntry.objects.filter(action="sample.read").exists()
        Job.objects.update(method="supervised")
    assert "samples" not in reader.page("")


def test_the_newest_step_is_shown_while_it_runs_and_the_others_on_demand(
    customer: Customer, job: Job
) -> None:
    reader = Reader(customer, job)
    assert "The first answers appear" in reader.part()
    give_samples(customer, job.public_id, 3, "first", row=7)
    give_samples(customer, job.public_id, 5, "second", "third", reward=0.25, scores={"place": 0.5})
    newest = reader.part()
    assert "every 5s" in newest
    assert re.findall(r'id="sample-(\d+-\d+)"', newest) == ["5-1", "5-2"]
    assert "reward 0.250" in newest
    assert "advantage 0.500" in newest
    assert "?step=3" in newest
    assert "Later step" not in newest
    older = reader.part("samples?step=3")
    assert re.findall(r'id="sample-(\d+-\d+)"', older) == ["3-1"]
    assert "every 5s" not in older, "what a person has turned to stays"
    assert "preview?row=7" in older
    assert "Newest step" in older
    with tenant_scope(customer.tenant_id):
        Job.objects.update(state=JobState.SUCCEEDED)
    assert "every 5s" not in reader.part()
    assert "<html" in reader.page()
    assert "奖励 0.250" in reader.page(language="zh-hans")
    assert "no answer is kept" in reader.part("samples?step=4")


def test_nothing_of_what_a_model_writes_becomes_part_of_the_page(
    customer: Customer, job: Job
) -> None:
    odd = {"reasoning": HOSTILE, "scores": {HOSTILE: 1.0}, "grader_errors": {HOSTILE: HOSTILE},
           "tool_calls": [{"name": HOSTILE}]}  # fmt: skip
    give_samples(customer, job.public_id, 1, HOSTILE, **odd)
    for page in (Reader(customer, job).page(), Reader(customer, job).part()):
        assert "<script>alert" not in page
        assert "<img" not in page.split('id="samples"')[1]
        assert page.count("&lt;script&gt;alert(1)&lt;/script&gt;") == 6
        assert "{{ 7|add:7 }}" in page


@pytest.mark.parametrize("step", ["0", "x", "-1", "9" * 50, "%00"])
def test_an_odd_step_is_told(customer: Customer, job: Job, step: str) -> None:
    reader = Reader(customer, job)
    assert reader.browser.get(f"{reader.address}samples?step={step}").status_code == 400


def test_what_is_lost_is_said_in_its_place(customer: Customer, job: Job) -> None:
    give_samples(customer, job.public_id, 1)
    with tenant_scope(customer.tenant_id):
        open_vault().delete(f"runs/{job.id}/1/samples/1.jsonl")
    assert "stored bytes are missing" in Reader(customer, job).part()
