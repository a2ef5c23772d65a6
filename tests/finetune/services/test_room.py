"""A tenant's storage has an end, and a small archive that unpacks to much does not get round it."""

import gzip
import json
from typing import Any

import pytest

from finetune.errors import UserFault
from finetune.models import Dataset
from finetune.services import intake
from finetune.services.datasets import perform_check
from finetune.services.room import stored
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.finetune.api.customers import Customer, new_customer

pytestmark = pytest.mark.django_db
MB = 1 << 20


def receive(customer: Customer, content: bytes, purpose: str = "fine-tune") -> StoredFile:
    with tenant_scope(customer.tenant_id):
        vault = intake.vault_of(customer.tenant_id)
        kept = intake.keep_bytes(vault=vault, source=[content])
        return intake.receive_file(filename="a.jsonl.gz", purpose=purpose, kept=kept, actor="test")


def test_a_small_archive_that_unpacks_to_much_is_refused(settings: Any) -> None:
    settings.TENANT_STORAGE_BYTES = 2 * MB
    customer = new_customer()
    row = {"prompt": "a" * 9000, "completion": "b"}
    bomb = gzip.compress((json.dumps(row) + "\n").encode() * 500)
    assert len(bomb) < 100_000
    receive(customer, bomb)
    with tenant_scope(customer.tenant_id):
        reading = Dataset.objects.get()
    perform_check(tenant_id=customer.tenant_id, dataset_id=reading.id)
    with tenant_scope(customer.tenant_id):
        reading.refresh_from_db()
        assert reading.error["code"] == "storage_used_up"
        assert reading.rows_object == ""
        assert stored() == len(bomb)


def test_unpacked_rows_count_as_they_lie_and_the_last_file_does_not_fit(settings: Any) -> None:
    settings.TENANT_STORAGE_BYTES = 6 * MB
    customer = new_customer()
    row = {"prompt": "a" * 9000, "completion": "b"}
    receive(customer, gzip.compress((json.dumps(row) + "\n").encode() * 500))
    customer.check_files()
    with tenant_scope(customer.tenant_id):
        assert stored() > 4 * MB
    with pytest.raises(UserFault, match="no room"):
        receive(customer, bytes(2 * MB), "user_data")
    receive(new_customer(), bytes(2 * MB), "user_data")
