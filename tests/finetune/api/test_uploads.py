"""/v1/uploads: parts in any order, joined in the order that is asked for."""

import hashlib
from datetime import timedelta
from pathlib import Path

import pytest
from django.utils import timezone
from openai import BadRequestError, NotFoundError

from tenants.database.scope import tenant_scope
from tenants.models import Upload
from tenants.services.vaults import object_store
from tests.finetune.api.customers import Customer, chat_rows, strict


def test_parts_are_joined_in_the_order_of_their_ids(customer: Customer) -> None:
    client = customer.client()
    data = chat_rows(30)
    upload = client.uploads.create(
        bytes=len(data), filename="rows.jsonl", mime_type="text/jsonl", purpose="fine-tune"
    )
    strict(upload)
    second = client.uploads.parts.create(upload.id, data=data[500:])
    first = client.uploads.parts.create(upload.id, data=data[:500])
    strict(first)
    done = client.uploads.complete(
        upload.id, part_ids=[first.id, second.id], md5=hashlib.md5(data).hexdigest()
    )
    strict(done)
    assert done.status == "completed"
    assert done.file is not None
    assert client.files.content(done.file.id).content == data
    customer.check_files()
    assert client.files.retrieve(done.file.id).status == "processed"
    assert not list(object_store().list(f"{customer.tenant_id}/parts/"))
    assert len(list(object_store().list(f"{customer.tenant_id}/objects/"))) == 1


def test_the_sdk_uploads_a_file_in_chunks(customer: Customer, tmp_path: Path) -> None:
    path = tmp_path / "rows.jsonl"
    path.write_bytes(chat_rows(2000))
    done = customer.client().uploads.upload_file_chunked(
        file=path, mime_type="text/jsonl", purpose="fine-tune", part_size=64 * 1024
    )
    assert done.file is not None
    assert customer.client().files.content(done.file.id).content == path.read_bytes()


def test_what_does_not_add_up_is_refused_and_can_be_mended(customer: Customer) -> None:
    client = customer.client()
    upload = client.uploads.create(
        bytes=10, filename="a.bin", mime_type="application/octet-stream", purpose="user_data"
    )
    half = client.uploads.parts.create(upload.id, data=b"01234")
    with pytest.raises(BadRequestError) as short:
        client.uploads.complete(upload.id, part_ids=[half.id])
    assert (short.value.code, short.value.param) == ("upload_size_mismatch", "part_ids")
    with pytest.raises(BadRequestError) as beyond:
        client.uploads.parts.create(upload.id, data=b"567890")
    assert beyond.value.code == "upload_too_many_bytes"
    rest = client.uploads.parts.create(upload.id, data=b"56789")
    for part_ids in ([half.id, half.id], [half.id, "part_" + "0" * 32], [half.id, "nonsense"]):
        with pytest.raises(BadRequestError) as unknown:
            client.uploads.complete(upload.id, part_ids=part_ids)
        assert unknown.value.code == "invalid_part_ids"
    with pytest.raises(BadRequestError) as wrong:
        client.uploads.complete(upload.id, part_ids=[rest.id, half.id], md5="0" * 32)
    assert wrong.value.code == "md5_mismatch"
    done = client.uploads.complete(upload.id, part_ids=[rest.id, half.id])
    assert done.file is not None
    assert client.files.content(done.file.id).content == b"5678901234"
    with pytest.raises(BadRequestError) as again:
        client.uploads.complete(upload.id, part_ids=[rest.id, half.id])
    assert again.value.code == "upload_not_pending"


def test_a_cancelled_upload_takes_nothing_more_and_keeps_nothing(customer: Customer) -> None:
    client = customer.client()
    upload = client.uploads.create(
        bytes=10, filename="a.bin", mime_type="application/octet-stream", purpose="user_data"
    )
    client.uploads.parts.create(upload.id, data=b"01234")
    assert client.uploads.cancel(upload.id).status == "cancelled"
    with pytest.raises(BadRequestError):
        client.uploads.parts.create(upload.id, data=b"56789")
    assert list(object_store().list(f"{customer.tenant_id}/objects/")) == []


def test_an_upload_expires_after_an_hour(customer: Customer) -> None:
    client = customer.client()
    upload = client.uploads.create(
        bytes=5, filename="a.bin", mime_type="application/octet-stream", purpose="user_data"
    )
    client.uploads.parts.create(upload.id, data=b"01234")
    with tenant_scope(customer.tenant_id):
        Upload.objects.update(expires_at=timezone.now() - timedelta(seconds=1))
    with pytest.raises(BadRequestError, match="expired"):
        client.uploads.parts.create(upload.id, data=b"")
    client.uploads.create(
        bytes=5, filename="b.bin", mime_type="application/octet-stream", purpose="user_data"
    )
    assert list(object_store().list(f"{customer.tenant_id}/objects/")) == []


def test_an_upload_keeps_to_the_largest_file(customer: Customer) -> None:
    with pytest.raises(BadRequestError) as refused:
        customer.client().uploads.create(
            bytes=1 << 40, filename="a", mime_type="text/plain", purpose="user_data"
        )
    assert refused.value.code == "file_too_large"
    with pytest.raises(NotFoundError):
        customer.client().uploads.cancel("upload_" + "0" * 32)
