"""A long download ends with the right to it, and whoever receives it sees that it is not whole."""

import os

import httpx
import pytest

from tenants.database.scope import tenant_scope
from tenants.models import ApiKey
from tenants.services.files import create_file, keep
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import new_customer
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
    headers = {"authorization": f"Bearer {customer.key}"}
    whole = httpx.get(address, headers=headers, timeout=120)
    assert len(whole.content) == SIZE

    with httpx.stream("GET", address, headers=headers, timeout=120) as answer:
        chunks = answer.iter_raw(1 << 16)
        received = len(next(chunks))
        with tenant_scope(customer.tenant_id):
            for key in ApiKey.objects.all():
                key.revoked_at = key.created_at
                key.save(update_fields=["revoked_at"])
        with pytest.raises(httpx.RemoteProtocolError):
            received += sum(map(len, chunks))
