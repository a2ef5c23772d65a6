"""Brings a tenant's bytes into its vault and lets go of them; what they mean is not known here."""

import unicodedata
import uuid
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import PurePosixPath, PureWindowsPath
from typing import BinaryIO

from django.db import transaction
from django.utils import timezone

from tenants.access import Principal
from tenants.database.scope import release_connection
from tenants.errors import Invalid, NotFound
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services.audit import note, record
from tenants.services.vaults import open_vault
from tenants.vault.vault import Vault

CHUNK = 1 << 20
SHORTEST_LIFE, LONGEST_LIFE = 3600, 30 * 24 * 3600  # seconds; OpenAI's limits of `expires_after`
LONGEST_LABEL = 255


@dataclass(frozen=True)
class Kept:
    """Bytes that lie in the vault and that no row names yet."""

    object_name: str
    bytes: int
    sha256: str


def label_of(filename: str) -> str:
    """A client's file name as a label: no folders, nothing invisible. Never used as a path."""
    name = PurePosixPath(PureWindowsPath(filename).name).name
    visible = "".join(c for c in name if unicodedata.category(c)[0] != "C")
    return visible.strip()[:LONGEST_LABEL] or "file"


def chunks(source: BinaryIO) -> Iterator[bytes]:
    while piece := source.read(CHUNK):
        yield piece


def keep(*, vault: Vault, pieces: Iterable[bytes], limit: int) -> Kept:
    """Streams into a new object of the vault; holds no transaction and no connection.

    Raises Invalid beyond `limit` bytes, and the vault's errors; then nothing is kept.
    """
    release_connection()
    name = f"objects/{uuid.uuid4().hex}"
    with vault.put(name) as writer:
        total = 0
        for piece in pieces:
            total += len(piece)
            if total > limit:
                raise too_large(limit)
            writer.write(piece)
    return Kept(name, writer.info.plaintext_bytes, writer.info.sha256)


def too_large(limit: int) -> Invalid:
    return Invalid(
        "file_too_large",
        f"The file is larger than the {limit} bytes allowed here.",
        fix="Split it into several files, or compress it (gzip and zstd are read as they are).",
        param="file",
    )


def check_life(seconds: int | None) -> None:
    """Raises Invalid when `expires_after` is outside OpenAI's limits."""
    if seconds is not None and not SHORTEST_LIFE <= seconds <= LONGEST_LIFE:
        raise Invalid(
            "invalid_expires_after",
            f"`expires_after.seconds` must be from {SHORTEST_LIFE} to {LONGEST_LIFE}.",
            param="expires_after.seconds",
        )


def create_file(
    *, filename: str, purpose: str, kept: Kept, status: str, life: int | None, actor: str
) -> StoredFile:
    """Names kept bytes. `life`: seconds until the file expires, None: never. Raises Invalid."""
    check_life(life)
    file = StoredFile.objects.create(
        filename=label_of(filename),
        purpose=purpose,
        bytes=kept.bytes,
        sha256=kept.sha256,
        object_name=kept.object_name,
        status=status,
        expires_at=timezone.now() + timedelta(seconds=life) if life is not None else None,
    )
    record(
        actor=actor,
        action="file.create",
        target=file.public_id,
        data={"purpose": purpose, "bytes": kept.bytes, "sha256": kept.sha256},
    )
    return file


def open_file(*, file: StoredFile, by: Principal) -> BinaryIO:
    """The bytes as they came, as a stream that outlives the open scope; the tenant's log says who
    took them. They are its own words or figures and hold no weights: no licence is asked.

    Raises Refused without the scope to read files; ObjectMissing, ObjectDamaged, StorageDown.
    """
    by.require_of(Scope.FILES_READ, file)
    stream = open_vault().open(file.object_name)
    note(
        actor=by.actor, action="file.download", target=file.public_id, data={"sha256": file.sha256}
    )
    return stream


def delete_file(*, file_id: uuid.UUID, actor: str, action: str = "file.delete") -> StoredFile:
    """Destroys the bytes and the label; the row stays as a tombstone for the jobs that name it.

    Raises NotFound, also when it is deleted already.
    """
    file = StoredFile.objects.select_for_update().filter(id=file_id, deleted_at=None).first()
    if file is None:
        raise no_such_file()
    vault, gone = open_vault(), file.object_name
    file.deleted_at = timezone.now()
    file.expires_at = None
    file.filename = ""
    file.save(update_fields=["deleted_at", "expires_at", "filename"])
    record(actor=actor, action=action, target=file.public_id, data={"sha256": file.sha256})
    transaction.on_commit(lambda: vault.delete(gone))
    return file


def no_such_file(param: str | None = None) -> NotFound:
    return NotFound("file_not_found", "No such file.", param=param)
