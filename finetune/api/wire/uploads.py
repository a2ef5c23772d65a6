"""/v1/uploads: a large file in parts, in any order, until `complete` joins them."""

from typing import Any, BinaryIO, Literal, cast

from django.conf import settings
from django.http import HttpRequest
from django.http.response import HttpResponseBase
from pydantic import BaseModel, ConfigDict, Field

from finetune import selectors
from finetune.api.admission import scope_of
from finetune.api.bodies import form_file, parse, read_form
from finetune.api.wire.base import WireView, fingerprint
from finetune.api.wire.files import file_object, refuse_unknown
from finetune.api.wire.keeping import KeepingView
from finetune.api.wire.pages import created, seconds
from finetune.services.files import intake
from finetune.services.files.room import require_room
from tenants import public_ids
from tenants.models import Upload, UploadPart
from tenants.roles import Scope
from tenants.services import uploads
from tenants.services.vaults import open_vault
from tenants.states import UploadStatus


class ExpiresAfter(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    anchor: Literal["created_at"]
    seconds: int


class UploadCreate(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    bytes: int = Field(ge=1)
    filename: str = Field(min_length=1, max_length=1024)
    mime_type: str = Field(min_length=1, max_length=120)
    purpose: str
    expires_after: ExpiresAfter | None = None


class UploadComplete(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)
    part_ids: list[str] = Field(min_length=1, max_length=10_000)
    md5: str | None = Field(None, pattern=r"^[0-9a-fA-F]{32}$")


def upload_object(upload: Upload) -> dict[str, Any]:
    return {
        "id": upload.public_id,
        "object": "upload",
        "bytes": upload.bytes,
        "created_at": created(upload),
        "expires_at": seconds(upload.expires_at),
        "filename": upload.filename,
        "purpose": upload.purpose,
        "status": upload.status,
        "file": file_object(upload.file) if upload.file else None,
    }


def part_object(part: UploadPart, upload: Upload) -> dict[str, Any]:
    return {
        "id": part.public_id,
        "object": "upload.part",
        "created_at": created(part),
        "upload_id": upload.public_id,
    }


class Uploads(WireView):
    scopes = {"post": Scope.FILES_WRITE}

    def post(self, request: HttpRequest) -> dict[str, Any]:
        asked = parse(UploadCreate, request)
        intake.check_purpose(asked.purpose)
        upload = uploads.create_upload(
            filename=asked.filename,
            purpose=asked.purpose,
            bytes=asked.bytes,
            mime_type=asked.mime_type,
            life=asked.expires_after.seconds if asked.expires_after else None,
            limit=settings.MAX_FILE_BYTES,
            actor=self.caller.actor,
        )
        return upload_object(upload)


class Parts(KeepingView):
    scopes = {"post": Scope.FILES_WRITE}

    def post(self, request: HttpRequest, upload_id: str) -> HttpResponseBase:
        with scope_of(self.caller):
            upload = selectors.find(Upload.objects.all(), upload_id)
            uploads.require_pending(upload)
            vault = open_vault()
        refuse_unknown(read_form(request), frozenset({"data"}))
        data = cast(BinaryIO, form_file(request, "data"))
        kept = intake.keep_bytes(vault=vault, source=data, limit=uploads.PART_BYTES)

        def make() -> dict[str, Any]:
            require_room(kept.bytes)
            return part_object(uploads.add_part(upload_id=upload.id, kept=kept), upload)

        wish = fingerprint(sha256=kept.sha256)
        return self.once_kept(request, wish, make, vault=vault, kept=kept)


class Complete(KeepingView):
    scopes = {"post": Scope.FILES_WRITE}

    def post(self, request: HttpRequest, upload_id: str) -> HttpResponseBase:
        asked = parse(UploadComplete, request)
        with scope_of(self.caller):
            upload = selectors.find(Upload.objects.select_related("file"), upload_id)
            if upload.status == UploadStatus.COMPLETED:
                # A retry finds its first answer, others a conflict
                return self.once(request, repr(asked), lambda: uploads.require_pending(upload))
            part_ids = [public_ids.PART.read(each) for each in asked.part_ids]
            parts = uploads.ordered_parts(upload_id=upload.id, part_ids=part_ids)
            vault = open_vault()
        kept = uploads.compose(
            vault=vault, parts=parts, md5=asked.md5, limit=settings.MAX_FILE_BYTES
        )

        def make() -> dict[str, Any]:
            file = intake.receive_file(
                filename=upload.filename,
                purpose=upload.purpose,
                kept=kept,
                life=upload.file_expires_after,
                actor=self.caller.actor,
            )
            done = uploads.finish(upload_id=upload.id, file=file, actor=self.caller.actor)
            return upload_object(done)

        return self.once_kept(request, repr(asked), make, vault=vault, kept=kept)


class Cancel(WireView):
    scopes = {"post": Scope.FILES_WRITE}

    def post(self, request: HttpRequest, upload_id: str) -> dict[str, Any]:
        upload = selectors.find(Upload.objects.all(), upload_id)
        return upload_object(uploads.cancel_upload(upload_id=upload.id, actor=self.caller.actor))
