"""Large files in parts, each of which lies in the vault until `complete` joins them in order."""

import hashlib
import uuid
from collections.abc import Iterator
from datetime import timedelta

from django.db.models import QuerySet, Sum
from django.utils import timezone

from tenants.actor import actor_of
from tenants.errors import Conflict, Invalid, NotFound
from tenants.models import StoredFile, Upload, UploadPart
from tenants.services.audit import record
from tenants.services.files import Kept, check_life, chunks, keep, label_of, too_large
from tenants.services.vaults import drop_when_committed, open_vault
from tenants.states import UploadStatus
from tenants.vault.vault import Vault

LIFE = timedelta(hours=1)
PART_BYTES = 64 * 1024 * 1024


def create_upload(
    *,
    filename: str,
    purpose: str,
    bytes: int,
    mime_type: str,
    life: int | None,
    limit: int,
    actor: str,
) -> Upload:
    """`bytes` is promised here and kept at `complete`. Raises Invalid."""
    check_life(life)
    if bytes > limit:
        raise too_large(limit)
    sweep_expired(actor=actor)
    upload = Upload.objects.create(
        filename=label_of(filename),
        purpose=purpose,
        bytes=bytes,
        mime_type=mime_type,
        expires_at=timezone.now() + LIFE,
        file_expires_after=life,
        user_id=actor_of(actor).user_id,
    )
    record(actor=actor, action="upload.create", target=upload.public_id, data={"bytes": bytes})
    return upload


def add_part(*, upload_id: uuid.UUID, kept: Kept) -> UploadPart:
    """Raises NotFound, Conflict when the upload takes no more, Invalid beyond the promised size.

    Parts may come in any order and at the same time, so the sum is taken under the upload's lock.
    """
    upload = _pending(upload_id)
    held = _parts(upload).aggregate(sum=Sum("bytes"))["sum"] or 0
    if held + kept.bytes > upload.bytes:
        raise Invalid(
            "upload_too_many_bytes",
            f"The upload was created for {upload.bytes} bytes and holds {held}; "
            f"another {kept.bytes} do not fit.",
            fix="Send only the bytes that are missing, or create a new upload.",
            param="data",
        )
    return UploadPart.objects.create(
        upload=upload, bytes=kept.bytes, sha256=kept.sha256, object_name=kept.object_name
    )


def ordered_parts(*, upload_id: uuid.UUID, part_ids: list[uuid.UUID | None]) -> list[UploadPart]:
    """The parts as `complete` names them. Raises Invalid for one that is unknown or named twice,
    and when their sizes do not add up to what was promised."""
    upload = _pending(upload_id)
    known = {part.id: part for part in _parts(upload)}
    if len(set(part_ids)) != len(part_ids) or not all(each in known for each in part_ids):
        raise Invalid(
            "invalid_part_ids",
            "`part_ids` names a part that this upload does not have, or one part twice.",
            fix="Give each part's id once, in the order in which the bytes follow one another.",
            param="part_ids",
        )
    parts = [known[each] for each in part_ids if each is not None]
    total = sum(part.bytes for part in parts)
    if total != upload.bytes:
        raise Invalid(
            "upload_size_mismatch",
            f"The upload was created for {upload.bytes} bytes and these parts have {total}.",
            fix="Add the missing parts, or leave out what is too much.",
            param="part_ids",
        )
    return parts


def compose(*, vault: Vault, parts: list[UploadPart], md5: str | None, limit: int) -> Kept:
    """One object out of the parts, streaming and without a transaction. Raises Invalid when the
    bytes do not have the MD5 that was given."""
    digest = hashlib.md5(usedforsecurity=False)  # a check of the transport, as OpenAI defines it

    def pieces() -> Iterator[bytes]:
        for part in parts:
            with vault.open(part.object_name) as stream:
                for piece in chunks(stream):
                    digest.update(piece)
                    yield piece

    kept = keep(vault=vault, pieces=pieces(), limit=limit)
    if md5 is not None and digest.hexdigest() != md5.lower():
        vault.delete(kept.object_name)
        raise Invalid(
            "md5_mismatch",
            f"The bytes received have the MD5 {digest.hexdigest()}, not the one given.",
            fix="Check the order of `part_ids`; send a damaged part again and name the new one.",
            param="md5",
        )
    return kept


def finish(*, upload_id: uuid.UUID, file: StoredFile, actor: str) -> Upload:
    """Marks the upload completed. Raises Conflict when another request was first."""
    upload = _pending(upload_id)
    upload.status, upload.file = UploadStatus.COMPLETED, file
    upload.save(update_fields=["status", "file"])
    record(actor=actor, action="upload.complete", target=upload.public_id)
    _drop_parts(upload)
    return upload


def cancel_upload(*, upload_id: uuid.UUID, actor: str) -> Upload:
    """Raises NotFound, and Conflict when it is not pending any more."""
    upload = _pending(upload_id)
    upload.status, upload.filename = UploadStatus.CANCELLED, ""
    upload.save(update_fields=["status", "filename"])
    record(actor=actor, action="upload.cancel", target=upload.public_id)
    _drop_parts(upload)
    return upload


def sweep_expired(*, actor: str) -> None:
    """Lets go of the open scope's uploads whose hour has passed, and of their parts."""
    late = Upload.objects.select_for_update(skip_locked=True)
    for upload in late.filter(status=UploadStatus.PENDING, expires_at__lt=timezone.now()):
        upload.status, upload.filename = UploadStatus.EXPIRED, ""
        upload.save(update_fields=["status", "filename"])
        record(actor=actor, action="upload.expire", target=upload.public_id)
        _drop_parts(upload)


def abandon_uploads(*, user_id: uuid.UUID, actor: str) -> None:
    """Cancels what the person, or a key of theirs, has begun in the open scope."""
    begun = Upload.objects.select_for_update().filter(user_id=user_id)
    for upload in begun.filter(status=UploadStatus.PENDING):
        upload.status = UploadStatus.CANCELLED
        upload.save(update_fields=["status"])
        record(actor=actor, action="upload.cancel", target=upload.public_id)
        _drop_parts(upload)


def require_pending(upload: Upload) -> None:
    """Raises Conflict saying why the upload takes nothing more."""
    late = upload.status == UploadStatus.PENDING and upload.expires_at <= timezone.now()
    status = UploadStatus.EXPIRED if late else upload.status
    if status != UploadStatus.PENDING:
        raise Conflict(
            "upload_not_pending",
            f"The upload is {status} and takes nothing more.",
            fix="Create a new upload; one stays open for an hour.",
        )


def no_such_upload() -> NotFound:
    return NotFound("upload_not_found", "No such upload.")


def _pending(upload_id: uuid.UUID) -> Upload:
    upload = Upload.objects.select_for_update().filter(id=upload_id).first()
    if upload is None:
        raise no_such_upload()
    require_pending(upload)
    return upload


def _parts(upload: Upload) -> QuerySet[UploadPart]:
    return UploadPart.objects.filter(upload=upload)


def _drop_parts(upload: Upload) -> None:
    vault = open_vault()
    names = list(_parts(upload).values_list("object_name", flat=True))
    _parts(upload).delete()
    drop_when_committed(vault, names)
