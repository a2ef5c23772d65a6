"""A web server that finds no room while it takes files, by a limit of the kernel on what one may
hold: told as such, nothing half-kept, and what was kept before serves once there is room."""

from collections.abc import Iterator
from dataclasses import replace
from uuid import UUID

import pytest
from openai import InternalServerError

from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.vaults import object_store
from tests.finetune.api.conftest import serving_http
from tests.finetune.api.customers import new_customer

pytestmark = pytest.mark.slow

MB = 1 << 20


@pytest.fixture
def full(committed: None) -> Iterator[str]:
    with serving_http("privatune.asgi:application", largest_file=6 * MB) as (url, _):
        yield url


def objects_of(tenant_id: UUID) -> list[str]:
    return sorted(object_store().list(f"{tenant_id}/"))


def assert_full(error: InternalServerError) -> None:
    assert (error.status_code, error.code) == (503, "storage_full")
    assert error.response.headers["retry-after"] == "30"
    assert "nothing of this was kept" in str(error)
    assert str(object_store().root) not in error.response.text  # type: ignore[attr-defined]


def test_without_room_an_upload_is_told_and_nothing_half_is_kept(base_url: str, full: str) -> None:
    customer = new_customer(full)
    client, part = customer.client(), bytes(4 * MB)
    with pytest.raises(InternalServerError) as sent:
        client.files.create(file=("large.bin", bytes(9 * MB)), purpose="user_data")
    assert_full(sent.value)
    assert objects_of(customer.tenant_id) == []
    with tenant_scope(customer.tenant_id):
        assert not StoredFile.objects.exists()

    upload = client.uploads.create(
        bytes=2 * len(part), filename="a.bin", mime_type="text/plain", purpose="user_data"
    )
    parts = [client.uploads.parts.create(upload.id, data=part).id for _ in range(2)]
    before = objects_of(customer.tenant_id)
    with pytest.raises(InternalServerError) as joined:
        client.uploads.complete(upload.id, part_ids=parts)
    assert_full(joined.value)
    assert objects_of(customer.tenant_id) == before
    assert not list((object_store().root / ".partial").iterdir())  # type: ignore[attr-defined]
    assert client.files.create(file=("small", b"fits"), purpose="user_data").bytes == 4

    roomy = replace(customer, base_url=base_url).client()
    done = roomy.uploads.complete(upload.id, part_ids=parts)
    assert done.file is not None
    assert roomy.files.content(done.file.id).content == part * 2
