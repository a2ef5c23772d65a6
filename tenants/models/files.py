"""Bytes a tenant has brought: files, and uploads that become files part by part."""

from django.db import models

from tenants import public_ids
from tenants.models.base import TenantForeignKey, TenantOwned
from tenants.states import FileStatus, UploadStatus


class StoredFile(TenantOwned):
    """Immutable bytes in the tenant's vault, under `objects/<uuid>`; the name is only a label."""

    public = public_ids.FILE

    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=32)
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    object_name = models.CharField(max_length=200)
    status = models.CharField(max_length=12, default=FileStatus.UPLOADED)
    status_details = models.TextField(null=True, blank=True)
    expires_at = models.DateTimeField(null=True, blank=True)
    # Set: the bytes are destroyed, and the row only keeps its id for the jobs that name it.
    deleted_at = models.DateTimeField(null=True, blank=True)

    class Meta:
        indexes = [models.Index(fields=["tenant", "-created_at", "-id"], name="tenants_file_page")]


class Upload(TenantOwned):
    """A file in the making."""

    public = public_ids.UPLOAD

    filename = models.CharField(max_length=255)
    purpose = models.CharField(max_length=32)
    bytes = models.BigIntegerField()
    mime_type = models.CharField(max_length=120)
    status = models.CharField(max_length=10, default=UploadStatus.PENDING)
    expires_at = models.DateTimeField()
    file_expires_after = models.BigIntegerField(null=True, blank=True)  # seconds
    # Whose it is, so that it ends with the membership; no foreign key: people are no tenant's.
    user_id = models.UUIDField(null=True, blank=True)
    file = TenantForeignKey(StoredFile, null=True, blank=True, related_name="+")


class UploadPart(TenantOwned):
    public = public_ids.PART

    upload = TenantForeignKey(Upload, on_delete=models.CASCADE, related_name="parts")
    bytes = models.BigIntegerField()
    sha256 = models.CharField(max_length=64)
    object_name = models.CharField(max_length=200)
