"""A licence's rights: one enum, from which every place that names them is made."""

import uuid

import pytest
from django.db import connections
from django.utils.translation import override

from privatune.cli.docs import page
from tenants.admin import LicenseForm
from tenants.models import Tenant
from tenants.rights import Right
from tenants.services.licences import issue_license, terms_of
from tenants.services.tenants import create_tenant
from tests.fixtures.language import WORDS
from tests.fixtures.older import older


@pytest.fixture
def tenant(committed: None) -> Tenant:
    return create_tenant(slug=f"t-{uuid.uuid4().hex[:8]}", name="Test", actor="test")


def test_what_the_operator_may_choose_is_the_enum_in_both_languages() -> None:
    with override("zh-hans"):
        offered = {value: str(label) for value, label in LicenseForm.base_fields["rights"].choices}
    assert list(offered) == list(Right)
    assert [label for label in offered.values() if not WORDS["zh-hans"].search(label)] == []
    assert f"--right <list[{'|'.join(Right)}]>" in page()


def test_rights_stand_in_the_order_of_the_enum_whatever_was_asked_first(tenant: Tenant) -> None:
    asked = frozenset({Right.SERVE, Right.TRAIN})
    licence = issue_license(tenant_id=tenant.id, model="m", rights=asked, actor="test")
    assert terms_of(licence)["rights"] == ["train", "serve"]


def test_licences_from_before_keep_their_rights(tenant: Tenant) -> None:
    asked = frozenset({Right.TRAIN, Right.SERVE})
    licence = issue_license(tenant_id=tenant.id, model="m", rights=asked, actor="test")
    none = issue_license(tenant_id=tenant.id, model="n", rights=frozenset(), actor="test")

    def told(columns: str) -> list[tuple[object, ...]]:
        with connections["owner"].cursor() as cursor:
            cursor.execute(
                f"SELECT id, {columns} FROM tenants_license WHERE tenant_id = %s ORDER BY model",
                [tenant.id],
            )
            return cursor.fetchall()

    with older("tenants", "0017_limits") as migrate:
        before = told("may_train, may_export, may_serve")
        migrate()
        after = told("rights")
    assert before == [(licence.id, True, False, True), (none.id, False, False, False)]
    assert after == [(licence.id, ["train", "serve"]), (none.id, [])]
