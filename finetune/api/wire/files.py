"""/v1/files: upload, list, retrieve, read back, delete."""

from collections.abc import Callable, Sequence
from typing import Any, BinaryIO, cast

from django.http import HttpRequest
from django.http.response import HttpResponseBase

from faults import UserFault
from finetune import selectors
from finetune.api import words
from finetune.api.bodies import form_file, read_form
from finetune.api.paging import Paging
from finetune.api.streams import download
from finetune.api.wire.base import WireView, fingerprint
from finetune.api.wire.keeping import KeepingView
from finetune.api.wire.pages import created, listing, seconds
from finetune.services.files import intake
from tenants.access import still_allowed
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services.files import check_life, label_of, open_file

PAGING = Paging(limit=10_000, most=10_000, ordered=True, filters=frozenset({"purpose"}))
FIELDS = frozenset({"file", "purpose", "expires_after[anchor]", "expires_after[seconds]"})


def file_object(file: StoredFile) -> dict[str, Any]:
    return file_objects([file])(file)


def file_objects(rows: Sequence[StoredFile]) -> Callable[[StoredFile], dict[str, Any]]:
    """Shows any of `rows`."""
    refused = words.refusals(rows)
    return lambda file: _shown(file, refused.get(file.id, file.status_details))


def _shown(file: StoredFile, why: str | None) -> dict[str, Any]:
    return {
        "id": file.public_id,
        "object": "file",
        "bytes": file.bytes,
        "created_at": created(file),
        "expires_at": seconds(file.expires_at),
        "filename": file.filename,
        "purpose": file.purpose,
        "status": file.status,
        "status_details": why,
    }


class Files(KeepingView):
    scopes = {"get": Scope.FILES_READ, "post": Scope.FILES_WRITE}

    def get(self, request: HttpRequest) -> dict[str, Any]:
        asked = PAGING.read(request)
        rows = selectors.files()
        if "purpose" in asked:
            rows = rows.filter(purpose=asked["purpose"])
        page = PAGING.page(asked, rows)
        return listing(page, file_objects(page.rows))

    def post(self, request: HttpRequest) -> HttpResponseBase:
        fields = read_form(request)
        refuse_unknown(fields, FIELDS)
        purpose = required(fields, "purpose")
        intake.check_purpose(purpose)
        life = expiry(fields)
        check_life(life)
        file = form_file(request, "file")
        vault = intake.vault_of(self.caller.principal.tenant_id)
        kept = intake.keep_bytes(vault=vault, source=cast(BinaryIO, file))
        name = label_of(file.name or "")
        wish = fingerprint(sha256=kept.sha256, purpose=purpose, life=life, name=name)

        def make() -> dict[str, Any]:
            stored = intake.receive_file(
                filename=name, purpose=purpose, kept=kept, life=life, actor=self.caller.actor
            )
            return file_object(stored)

        return self.once_kept(request, wish, make, vault=vault, kept=kept)


class File(WireView):
    scopes = {"get": Scope.FILES_READ, "delete": Scope.FILES_WRITE}

    def get(self, request: HttpRequest, file_id: str) -> dict[str, Any]:
        return file_object(selectors.find(selectors.files(), file_id))

    def delete(self, request: HttpRequest, file_id: str) -> dict[str, Any]:
        file = selectors.find(selectors.files(), file_id)
        intake.delete_file(file_id=file.id, actor=self.caller.actor)
        return {"id": file.public_id, "object": "file", "deleted": True}


class FileContent(WireView):
    scopes = {"get": Scope.FILES_READ}

    def get(self, request: HttpRequest, file_id: str) -> HttpResponseBase:
        file = selectors.find(selectors.files(), file_id)
        principal = self.caller.principal
        return download(
            open_file(file=file, by=principal),
            filename=file.filename,
            size=file.bytes,
            still=lambda: still_allowed(principal, Scope.FILES_READ),
        )


def required(fields: dict[str, str], name: str) -> str:
    if name not in fields:
        raise UserFault("missing_required_parameter", f"`{name}` is missing.", param=name)
    return fields[name]


def refuse_unknown(fields: dict[str, str], known: frozenset[str]) -> None:
    for name in fields:
        if name not in known:
            raise UserFault("unknown_parameter", "There is no such form field.", param=name[:64])


def expiry(fields: dict[str, str]) -> int | None:
    """Seconds of `expires_after`, which a form carries as two fields."""
    anchor = fields.get("expires_after[anchor]")
    life = fields.get("expires_after[seconds]")
    if anchor is None and life is None:
        return None
    if anchor != "created_at":
        raise UserFault(
            "invalid_expires_after",
            "`expires_after.anchor` must be `created_at`.",
            param="expires_after.anchor",
        )
    if life is None or not (life.isascii() and life.isdecimal()):
        raise UserFault(
            "invalid_expires_after",
            "`expires_after.seconds` must be a whole number.",
            param="expires_after.seconds",
        )
    return int(life[:12])
