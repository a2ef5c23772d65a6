"""The operator's admin works through its own database role, which sees no customer content."""

import uuid

import pytest
from django.db import connections
from django.db.utils import ProgrammingError
from django.test import Client

from tenants.database.scope import tenant_scope
from tenants.models import License, LicenseState, Tenant
from tenants.services.licences import issue_license
from tenants.services.tenants import create_tenant
from tests.fixtures.people import operator_browser


@pytest.fixture
def operator(committed: None) -> Client:
    return operator_browser()


@pytest.fixture
def tenant(committed: None) -> Tenant:
    return create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Test", actor="test")


def test_the_operator_issues_suspends_and_renews_a_licence(
    operator: Client, tenant: Tenant
) -> None:
    answer = operator.post(
        "/operator/tenants/license/add/",
        {
            "tenant": str(tenant.id),
            "model": "some-model",
            "may_train": "on",
            "valid_from_0": "2026-01-01",
            "valid_from_1": "00:00:00",
            "token_budget": "1000",
        },
    )
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(tenant.id):
        licence = License.objects.get()
    assert (licence.model, licence.may_train, licence.may_export) == ("some-model", True, False)

    answer = operator.post(
        f"/operator/tenants/license/{licence.id}/change/",
        {"valid_until_0": "2030-01-01", "valid_until_1": "00:00:00", "token_budget": "5000"},
    )
    assert answer.status_code == 302, answer.content.decode()
    operator.post(
        "/operator/tenants/license/",
        {"action": "suspend", "_selected_action": [str(licence.id)]},
    )
    with tenant_scope(tenant.id):
        licence = License.objects.get()
    assert (licence.token_budget, licence.state) == (5000, LicenseState.SUSPENDED)
    assert licence.valid_until is not None


def test_a_second_licence_for_the_same_model_is_an_error_in_the_form(
    operator: Client, tenant: Tenant
) -> None:
    issue_license(tenant_id=tenant.id, model="m", actor="test")
    answer = operator.post(
        "/operator/tenants/license/add/",
        {"tenant": str(tenant.id), "model": "m", "valid_from_0": "2026-01-01",
         "valid_from_1": "00:00:00"},
    )  # fmt: skip
    assert answer.status_code == 200
    assert "already holds a licence" in answer.content.decode()


@pytest.mark.parametrize(
    "room",
    ["tenants/tenant", "tenants/license", "tenants/usageentry", "tenants/user",
     "finetune/catalogmodel", "finetune/run"],
)  # fmt: skip
def test_every_room_of_the_admin_opens(operator: Client, tenant: Tenant, room: str) -> None:
    issue_license(tenant_id=tenant.id, model="m", actor="test")
    assert operator.get(f"/operator/{room}/").status_code == 200


@pytest.mark.parametrize(
    "table",
    ["tenants_storedfile", "tenants_apikey", "tenants_auditentry", "finetune_dataset",
     "finetune_job", "finetune_event", "finetune_artifact"],
)  # fmt: skip
def test_the_operators_role_may_not_even_select_customer_content(
    committed: None, table: str
) -> None:
    with (
        connections["operator"].cursor() as cursor,
        pytest.raises(ProgrammingError, match="permission denied"),
    ):
        cursor.execute(f"SELECT * FROM {table}")
