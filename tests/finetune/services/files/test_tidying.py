"""What nobody finishes does not stay, also when its tenant never comes back."""

from datetime import timedelta

import pytest
from django.utils import timezone

from finetune.services import sweeping
from finetune.tasks import tidy_tenant
from tenants.database.scope import tenant_scope
from tenants.models import IdempotencyRecord, Upload, UploadPart
from tenants.services import uploads
from tenants.services.files import keep
from tenants.services.idempotency import Attempt, once
from tenants.services.vaults import object_store, open_vault
from tests.finetune.api.customers import new_customer

pytestmark = pytest.mark.django_db


def test_an_abandoned_upload_and_old_answers_are_swept_away() -> None:
    customer = new_customer()
    with tenant_scope(customer.tenant_id):
        upload = uploads.create_upload(
            filename="a", purpose="fine-tune", bytes=9, mime_type="b", life=None, limit=99,
            actor="test",
        )  # fmt: skip
        kept = keep(vault=open_vault(), pieces=[b"half"], limit=9)
        uploads.add_part(upload_id=upload.id, kept=kept)
        once(attempt=Attempt("caller", "POST /x", "0" * 64), make=lambda: "answer")
    due = (customer.tenant_id, "tidy", customer.tenant_id)
    assert due not in sweeping.due()
    past = timezone.now() - timedelta(days=30)
    with tenant_scope(customer.tenant_id):
        Upload.objects.update(expires_at=past)
        IdempotencyRecord.objects.update(created_at=past)
    assert due in sweeping.due()
    tidy_tenant(str(customer.tenant_id), str(customer.tenant_id))
    assert due not in sweeping.due()
    with tenant_scope(customer.tenant_id):
        assert Upload.objects.get().status == "expired"
        assert not UploadPart.objects.exists()
        assert not IdempotencyRecord.objects.exists()


def test_the_bytes_of_an_abandoned_upload_go(django_capture_on_commit_callbacks: object) -> None:
    customer = new_customer()
    with tenant_scope(customer.tenant_id):
        upload = uploads.create_upload(
            filename="a", purpose="fine-tune", bytes=9, mime_type="b", life=None, limit=99,
            actor="test",
        )  # fmt: skip
        kept = keep(vault=open_vault(), pieces=[b"half"], limit=9)
        uploads.add_part(upload_id=upload.id, kept=kept)
        Upload.objects.update(expires_at=timezone.now() - timedelta(days=30))
    with django_capture_on_commit_callbacks(execute=True):  # type: ignore[operator]
        tidy_tenant(str(customer.tenant_id), str(customer.tenant_id))
    assert not list(object_store().list(f"{customer.tenant_id}/objects/"))
