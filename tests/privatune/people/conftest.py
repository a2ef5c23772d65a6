"""An organisation that requires a second factor."""

import pytest

from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tenants.services.tenants import require_two_factor
from tests.finetune.api.customers import Customer, new_customer


def strict_customer() -> Customer:
    customer = new_customer()
    with tenant_scope(customer.tenant_id):
        require_two_factor(required=True, role=Role.OWNER, actor="test")
    return customer


@pytest.fixture
def strict(db: None) -> Customer:
    return strict_customer()
