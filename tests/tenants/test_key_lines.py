"""The migration that gives existing keys the key that made them, as the audit trail knows it."""

from datetime import timedelta
from importlib import import_module

import pytest
from django.db import connections
from django.utils import timezone

from tenants.access import Principal, authenticate_key
from tenants.database.scope import tenant_scope
from tenants.models import ApiKey
from tenants.services.keys import make_key
from tests.finetune.api.customers import new_customer, new_member


def made_by_a_key(owner: Principal, name: str) -> tuple[ApiKey, ApiKey]:
    maker, secret = make_key(by=owner, name=name)
    return maker, make_key(by=authenticate_key(secret), name=f"of {name}")[0]


@pytest.mark.usefixtures("committed")
def test_keys_from_before_get_their_maker_and_none_ends_by_it() -> None:
    customer = new_customer()
    _, owner = new_member(customer)
    with tenant_scope(customer.tenant_id):
        makers = {name: made_by_a_key(owner, name) for name in ("living", "revoked", "expired")}
        alone, _ = make_key(by=owner, name="in person")
        ApiKey.objects.update(made_with=None)  # as before
        past = timezone.now() - timedelta(days=1)
        ApiKey.objects.filter(id=makers["revoked"][0].id).update(revoked_at=past)
        ApiKey.objects.filter(id=makers["expired"][0].id).update(expires_at=past)
    with connections["owner"].cursor() as cursor:
        for _again in range(2):
            cursor.execute(import_module("tenants.migrations.0014_key_lines").FILL)
    with tenant_scope(customer.tenant_id):
        found = dict(ApiKey.objects.values_list("id", "made_with_id"))
    living, child = makers["living"]
    assert found[child.id] == living.id
    others = [alone, *(key for pair in makers.values() for key in pair if key != child)]
    assert {found[key.id] for key in others} == {None}
