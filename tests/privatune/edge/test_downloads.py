"""A long download ends with the right to it, and whoever receives it sees that it is not whole."""

import json
import os

import httpx
import pytest

from tenants.database.scope import tenant_scope
from tenants.models import ApiKey, AuditEntry, AuditHead
from tenants.services.files import create_file, keep
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer
from tests.privatune.edge.conftest import Edge

SIZE = 48 << 20  # more than the buffers of both ends hold


def test_a_slow_readers_download_breaks_off_when_its_key_is_revoked(edge: Edge) -> None:
    customer = new_customer(edge.url)
    with tenant_scope(customer.tenant_id):
        pieces = (os.urandom(1 << 20) for _ in range(SIZE >> 20))
        kept = keep(vault=open_vault(), pieces=pieces, limit=SIZE)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
    address = f"{edge.url}/v1/files/{file.public_id}/content"
    whole = httpx.get(address, headers=bearer(customer))
    assert len(whole.content) == SIZE
    breaks_off_when_revoked(customer, address)


def test_the_export_of_the_audit_trail_breaks_off_as_well(edge: Edge) -> None:
    customer = new_customer(edge.url)
    with tenant_scope(customer.tenant_id):
        seq = AuditEntry.objects.count()
        AuditEntry.objects.bulk_create(
            AuditEntry(seq=seq + n, actor="t", action="t", data={"long": "x" * (SIZE // 4000)})
            for n in range(1, 4001)
        )
        AuditHead.objects.create(seq=seq + 9999)  # nothing here signs one, and none is waited for
    address = f"{edge.url}/api/v1/audit/export"
    whole = httpx.get(address, headers=bearer(customer))
    assert len(whole.content) > SIZE
    assert json.loads(whole.content.splitlines()[-1])["type"] == "end"
    breaks_off_when_revoked(customer, address)


def bearer(customer: Customer) -> dict[str, str]:
    return {"authorization": f"Bearer {customer.key}"}


def breaks_off_when_revoked(customer: Customer, address: str) -> None:
    with httpx.stream("GET", address, headers=bearer(customer)) as answer:
        chunks = answer.iter_raw(1 << 16)
        received = len(next(chunks))
        with tenant_scope(customer.tenant_id):
            for key in ApiKey.objects.all():
                key.revoked_at = key.created_at
                key.save(update_fields=["revoked_at"])
        with pytest.raises(httpx.RemoteProtocolError):
            received += sum(map(len, chunks))
