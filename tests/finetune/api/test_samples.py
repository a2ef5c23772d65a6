"""GET /api/v1/jobs/{id}/samples: who may see what a model wrote while it was trained, page by page,
until the job's file or its model is deleted."""

from typing import Any

import pytest
from django.test import Client

from finetune import selectors
from finetune.models import Job, Run, StepSample
from finetune.services.files import intake
from finetune.services.files.orphans import remove_orphans
from finetune.services.files.room import storage
from finetune.services.models import artifacts
from finetune.states import RunState
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, License
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services.tenants import create_key
from tenants.services.vaults import object_store, open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_result, give_samples, running_job
from tests.finetune.api.test_fuzz import WORDS

pytestmark = pytest.mark.django_db
CLIENT = Client(raise_request_exception=False)


@pytest.fixture
def customer() -> Customer:
    shelve()
    return new_customer(models=["shelf"])


@pytest.fixture
def job(customer: Customer) -> Job:
    return running_job(customer)


def ask(customer: Customer, job: Job, *, key: str = "", **query: Any) -> Any:
    headers = {"Authorization": f"Bearer {key or customer.key}"}
    return CLIENT.get(f"/api/v1/jobs/{job.public_id}/samples", query, headers=headers)


def ids(answer: Any) -> list[str]:
    assert answer.status_code == 200, answer.content
    return [each["id"] for each in answer.json()["data"]]


def test_a_running_jobs_newest_step_comes_first_and_pages_go_on_from_an_answer(
    customer: Customer, job: Job
) -> None:
    assert ask(customer, job).json() == {"data": [], "has_more": False}
    give_samples(customer, job.public_id, 1, "a", "b")
    give_samples(customer, job.public_id, 2, "c", "d", "e", scores={"x": 0.5})
    assert ids(ask(customer, job)) == ["2-1", "2-2", "2-3", "1-1", "1-2"]
    assert ids(ask(customer, job, step=1)) == ["1-1", "1-2"]
    assert ids(ask(customer, job, step=9)) == []
    pages, after = [], {}
    while True:
        answer = ask(customer, job, limit=2, **after)
        pages.append(ids(answer))
        if not answer.json()["has_more"]:
            break
        after = {"after": pages[-1][-1]}
    assert pages == [["2-1", "2-2"], ["2-3", "1-1"], ["1-2"]]
    assert ids(ask(customer, job, limit=1, after="2-3")) == ["1-1"]
    first = ask(customer, job, limit=1).json()["data"][0]
    assert first == {
        "id": "2-1", "step": 2, "row": 1, "text": "c", "reasoning": "", "tool_calls": [],
        "shortened": False, "tokens": 2, "truncated": False, "reward": 1.0, "scores": {"x": 0.5},
        "grader_errors": {}, "advantage": 0.5,
    }  # fmt: skip


@pytest.mark.parametrize(
    ("scopes", "status"),
    [
        ({Scope.JOBS_READ, Scope.FILES_READ}, 200),
        ({Scope.JOBS_READ}, 403),
        ({Scope.FILES_READ}, 403),
    ],
)
def test_it_takes_the_right_to_read_jobs_and_that_to_read_files(
    customer: Customer, job: Job, scopes: set[Scope], status: int
) -> None:
    give_samples(customer, job.public_id, 1, "rhabarber")
    _, key = create_key(tenant_id=customer.tenant_id, name="k", actor="t", scopes=scopes)
    answer = ask(customer, job, key=key)
    assert answer.status_code == status
    assert (b"rhabarber" in answer.content) == (status == 200)
    with tenant_scope(customer.tenant_id):
        seen = AuditEntry.objects.filter(action="sample.read", target=job.public_id).count()
    assert seen == (status == 200)


@pytest.mark.parametrize("name", ["step", "after", "limit", "x"])
def test_an_odd_query_is_told_and_breaks_nothing(customer: Customer, job: Job, name: str) -> None:
    give_samples(customer, job.public_id, 1)
    for word in (*WORDS, "1-0", "0-1", "1-1-1", "2147483648-1", "1-1 ", "१-१"):
        answer = ask(customer, job, **{name: word})
        assert answer.status_code == 400, (word, answer.content)
        assert answer.json()["param"] == name


def test_who_may_train_a_base_and_not_ask_it_reads_no_answers_of_its(
    customer: Customer, job: Job
) -> None:
    """A job by rewards was a way to have questions answered without the licence for it."""
    give_samples(customer, job.public_id, 1, "a")
    assert ask(customer, job).status_code == 200
    with tenant_scope(customer.tenant_id):
        License.objects.update(rights=[Right.TRAIN])
    answer = ask(customer, job)
    assert (answer.status_code, answer.json()["code"]) == (403, "license_required")


def test_an_object_that_is_lost_is_said(customer: Customer, job: Job) -> None:
    give_samples(customer, job.public_id, 1)
    with tenant_scope(customer.tenant_id):
        open_vault().delete(StepSample.objects.get().object_name)
    assert ask(customer, job).status_code == 410


def objects(customer: Customer) -> list[str]:
    return [name for name in object_store().list(f"{customer.tenant_id}/") if "/samples/" in name]


def test_samples_count_as_stored_and_are_nobodys_orphans(customer: Customer, job: Job) -> None:
    with tenant_scope(customer.tenant_id):
        Job.objects.update(room_bytes=1 << 20)
        before = storage()
    give_samples(customer, job.public_id, 1, "a" * 1000)
    with tenant_scope(customer.tenant_id):
        now, size = storage(), StepSample.objects.get().bytes
    assert size > 1000
    assert now.reports - before.reports == before.reserved - now.reserved == size
    remove_orphans(older_than_s=0)
    assert len(objects(customer)) == 1
    assert ids(ask(customer, job)) == ["1-1"]


@pytest.mark.parametrize("what", ["the file", "the model"])
def test_they_go_with_the_file_and_with_the_model(
    customer: Customer, job: Job, what: str, django_capture_on_commit_callbacks: Any
) -> None:
    give_samples(customer, job.public_id, 1)
    name = give_result(customer, job.public_id)
    with tenant_scope(customer.tenant_id):
        Run.objects.create(id=job.id, job=job, epoch=1, state=RunState.SUCCEEDED)
    with django_capture_on_commit_callbacks(execute=True), tenant_scope(customer.tenant_id):
        found = selectors.find(selectors.jobs(), job.public_id)
        if what == "the file":
            intake.delete_file(file_id=found.training_file.id, actor="t")
        else:
            artifacts.delete_model(name=name, actor="t")
    assert ids(ask(customer, job)) == []
    assert objects(customer) == []
