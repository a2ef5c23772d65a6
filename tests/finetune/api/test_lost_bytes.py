"""Stored bytes that are gone, or that somebody put others in the place of: told, never a bare 500,
and never given out."""

from typing import Any

import pytest
from django.test import Client

from tenants.database.scope import tenant_scope
from tenants.models import StoredFile, User
from tenants.roles import Role
from tenants.services.files import create_file, keep
from tenants.services.tenants import add_member
from tenants.services.vaults import object_store, open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve

pytestmark = pytest.mark.django_db

CLIENT = Client(raise_request_exception=False)


@pytest.fixture
def customer() -> Customer:
    return new_customer()


def stored(customer: Customer, content: bytes) -> StoredFile:
    with tenant_scope(customer.tenant_id):
        kept = keep(vault=open_vault(), pieces=[content], limit=1 << 20)
        return create_file(
            filename="a", purpose="user_data", kept=kept, status="processed", life=None, actor="t"
        )


def test_a_missing_object_is_told(customer: Customer) -> None:
    file = stored(customer, b"mine")
    with tenant_scope(customer.tenant_id):
        open_vault().delete(file.object_name)
    refused(customer, file, "object_missing")


def test_a_swapped_object_is_told_and_not_given_out(customer: Customer) -> None:
    mine, other = stored(customer, b"mine"), stored(customer, b"other")
    store = object_store()
    with store.open(f"{customer.tenant_id}/{other.object_name}") as source:
        foreign = source.read()
    with store.write(f"{customer.tenant_id}/{mine.object_name}") as sink:
        sink.write(foreign)
    refused(customer, mine, "object_damaged")


def refused(customer: Customer, file: StoredFile, code: str) -> None:
    response = CLIENT.get(
        f"/v1/files/{file.public_id}/content", headers={"authorization": f"Bearer {customer.key}"}
    )
    assert response.status_code == 410
    assert response.json()["error"]["code"] == code


def test_the_portal_tells_it_as_well(customer: Customer) -> None:
    from finetune.models import Dataset

    file = stored(customer, b"mine")
    with tenant_scope(customer.tenant_id):
        dataset = Dataset.objects.create(file=file, errors_object="datasets/gone")
    user = User.objects.create_user(f"p@{customer.slug}.example", "x" * 16)
    add_member(tenant_id=customer.tenant_id, user=user, role=Role.OWNER, actor="test")
    CLIENT.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    page = CLIENT.get(f"/t/{customer.slug}/files/{file.id}/problems/{dataset.id}")
    assert page.status_code == 410
    assert b"Bring the file in again" in page.content


def test_a_lost_list_of_problems_hides_no_other_reading(customer: Customer) -> None:
    from finetune.models import Dataset

    found: dict[str, Any] = {"state": "refused", "report": {"rows": 3}}
    file = stored(customer, b"mine")
    with tenant_scope(customer.tenant_id):
        Dataset.objects.create(file=file, errors_object="datasets/gone", **found)
        Dataset.objects.create(file=file, max_length=9, **found)
    user = User.objects.create_user(f"p@{customer.slug}.example", "x" * 16)
    add_member(tenant_id=customer.tenant_id, user=user, role=Role.OWNER, actor="test")
    answer = CLIENT.get("/api/v1/datasets", headers={"authorization": f"Bearer {customer.key}"})
    assert answer.status_code == 200, answer.content
    reports = {each["max_length"]: each["report"] for each in answer.json()["data"]}
    assert reports[None]["problems_lost"]["code"] == "object_missing"
    assert "problems_lost" not in reports[9]
    assert reports[None]["rows"] == reports[9]["rows"] == 3
    CLIENT.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    assert CLIENT.get(f"/t/{customer.slug}/files/{file.id}/").status_code == 200


@pytest.mark.parametrize("after", ["x", "-1", "9" * 5000, "²"])
def test_a_curve_from_nowhere_is_a_bad_request(customer: Customer, after: str) -> None:
    from finetune.models import Job
    from tenants.models import License
    from tenants.services.licences import issue_license

    base = shelve()
    issue_license(tenant_id=customer.tenant_id, model="shelf", actor="test")
    file = stored(customer, b"mine")
    with tenant_scope(customer.tenant_id):
        job = Job.objects.create(base=base, license=License.objects.get(), training_file=file)
    user = User.objects.create_user(f"p@{customer.slug}.example", "x" * 16)
    add_member(tenant_id=customer.tenant_id, user=user, role=Role.OWNER, actor="test")
    CLIENT.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    room = f"/t/{customer.slug}/jobs/{job.id}"
    assert CLIENT.get(f"{room}/curve", {"after": after}).status_code == 400
    assert CLIENT.get(f"{room}/stream", headers={"last-event-id": after}).status_code == 400
    assert CLIENT.get(f"{room}/curve", {"after": "0"}).status_code == 200
