"""By ability: the tags of an evaluation beside those of the training rows, over the API and on the
model's page."""

import json
from typing import Any

import pytest
from django.test import Client

from finetune.models import Artifact, CatalogModel, Evaluation, Job, Suite
from finetune.services.files import intake
from finetune.services.files.profiling import PROFILE
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.models import License, StoredFile
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_result
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

TOLD = {"passed": 1, "failed": 1, "errored": 0}
SCORES = {
    "lights": TOLD | {"rows": 40, "score": 0.9, "interval": [0.8, 0.97]},
    "heating": TOLD | {"rows": 40, "score": 0.1, "interval": [0.05, 0.2]},
}


def rows(*tags: str) -> bytes:
    made = [
        {
            "messages": [
                {"role": "user", "content": f"Do thing {n * 7919}."},
                {"role": "assistant", "content": "Done."},
            ],
            "tags": [tag],
        }
        for n, tag in enumerate(tags)
    ]
    return "".join(json.dumps(row) + "\n" for row in made).encode()


@pytest.fixture
def customer() -> Customer:
    shelve()
    return new_customer(models=["shelf"])


@pytest.fixture
def evaluation(customer: Customer) -> Evaluation:
    """Of a model that was trained on three rows about lights and one about heating."""
    vault = intake.vault_of(customer.tenant_id)
    data = [rows("lights", "lights", "lights", "heating", "alarms")]
    kept = intake.keep_bytes(vault=vault, source=data)
    with tenant_scope(customer.tenant_id):
        file = intake.receive_file(
            filename="rows.jsonl", purpose="fine-tune", kept=kept, actor="test"
        )
        base = CatalogModel.objects.get(name="shelf")
        job = Job.objects.create(base=base, license=License.objects.get(), training_file=file)
    customer.check_files()
    give_result(customer, job.public_id)
    with tenant_scope(customer.tenant_id):
        tags = {"model": SCORES, "base": {"lights": SCORES["heating"]}}
        open_vault().put_bytes("evaluations/tags", json.dumps(tags).encode())
        return Evaluation.objects.create(
            suite=Suite.objects.create(), file=file, base=base, artifact=Artifact.objects.get(),
            model="ft:x", digest="d", requested={}, state="succeeded", done=80, total=80,
            tags_object="evaluations/tags",
            report={"sides": {"model": TOLD | SCORES["lights"] | {"score": 0.5}}},
        )  # fmt: skip


def asked(customer: Customer, path: str, **body: Any) -> Any:
    client, headers = Client(), {"Authorization": f"Bearer {customer.key}"}
    if body:
        answer = client.post(f"/api/v1/{path}", body, "application/json", headers=headers)
    else:
        answer = client.get(f"/api/v1/{path}", headers=headers)
    assert answer.status_code == 200, answer.content
    return answer.json()


def test_where_rows_are_missing(customer: Customer, evaluation: Evaluation) -> None:
    path = f"evaluations/{evaluation.public_id}/abilities"
    before = asked(customer, path)
    assert [(each["tag"], each["rows"], each["gap"]) for each in before["data"]] == [
        ("heating", None, "weak"), ("lights", None, ""),
    ]  # fmt: skip
    assert (before["profile"], before["training_file"]) == (None, evaluation.file.public_id)
    profile = asked(customer, "profiles", file=before["training_file"])
    with tenant_scope(customer.tenant_id):
        key = evaluation.file.profiles.get().id
    perform(PROFILE, tenant_id=customer.tenant_id, key=key)
    found = asked(customer, path)
    assert found["profile"] == profile["id"]
    assert [(each["tag"], each["rows"], each["gap"]) for each in found["data"]] == [
        ("heating", 1, "mend_rows"), ("lights", 3, ""), ("alarms", 1, "not_asked"),
    ]  # fmt: skip
    assert [each["base"] for each in found["data"]] == [None, 0.1, None]
    page = page_of_model(customer, evaluation)
    assert "By ability" in page
    assert "Look at its rows: it is weak, though many teach it" in page
    assert "No question asks it" in page


def test_the_page_leads_to_what_counts_the_rows(customer: Customer, evaluation: Evaluation) -> None:
    page = page_of_model(customer, evaluation)
    assert "The training rows are not counted yet:" in page
    assert f"/files/{evaluation.file.id}/#profiles" in page


def test_a_suite_that_is_gone_leaves_no_ability(customer: Customer, evaluation: Evaluation) -> None:
    with tenant_scope(customer.tenant_id):
        Job.objects.update(state="succeeded")
        intake.delete_file(file_id=StoredFile.objects.get(filename="rows.jsonl").id, actor="test")
    found = asked(customer, f"evaluations/{evaluation.public_id}/abilities")
    assert (found["data"], found["training_file"]) == ([], None)
    assert 'id="abilities"' not in page_of_model(customer, evaluation)


def page_of_model(customer: Customer, evaluation: Evaluation) -> str:
    address = f"/t/{customer.slug}/models/{evaluation.artifact_id}/"
    answer = browser_of(member(customer)).get(address)
    assert answer.status_code == 200
    return answer.content.decode()
