"""Files that are made of files: how they are kept, and which was made of which."""

from typing import Any

from django.db.models import Q
from django.db.models.functions import Now

from faults import UserFault
from finetune.models import Mining, Scrub
from finetune.services.files.datasets import request_check
from finetune.states import LIVE_LEASES, LeaseState
from tenants.actor import Actor
from tenants.models import StoredFile
from tenants.services import files
from tenants.services.files import Kept
from tenants.services.vaults import drop_when_committed, open_vault
from tenants.states import FileStatus

ACTOR = Actor.system("worker")
Version = Scrub | Mining


def made_file(source: StoredFile, kept: Kept, how: str) -> StoredFile:
    """In the open scope. It lives no longer than what it was made of, and has none of its name,
    which goes with it; its check is asked for as an upload's. `how`: in one word, before its id."""
    file = files.create_file(
        filename=f"{how}-{source.id.hex[:8]}.jsonl",
        purpose=source.purpose,
        kept=kept,
        status=FileStatus.UPLOADED,
        life=None,
        actor=ACTOR,
    )
    file.expires_at = source.expires_at
    file.save(update_fields=["expires_at"])
    request_check(file=file)
    return file


def drop_minings(*, file: StoredFile) -> None:
    """Of the file's rows, or with it as further documents: those under way end and let go of what
    they have. The figures of the others stay, as the line from file to file."""
    minings = Mining.objects.filter(Q(file=file) | Q(corpus=file), state__in=LIVE_LEASES)
    names = [name for each in minings for name in each.objects_named]
    gone = UserFault("file_deleted", "The file was deleted before its negatives were mined.")
    minings.update(
        state=LeaseState.FAILED, error=gone.fields(), parts=[], lease_until=None, finished_at=Now()
    )
    vault = open_vault()
    drop_when_committed(vault, names)


def versions_of(file: StoredFile) -> list[Version]:
    """The line that leads to the file and on from it: what made files, with the files, oldest
    first."""
    found: dict[Any, Version] = {}
    known: set[Any] = {file.id}
    new = known
    while new:
        ends = [each for model in (Scrub, Mining) for each in _made(model, new)]
        found |= {each.id: each for each in ends}
        new = {key for each in ends for key in (each.file_id, each.result_id)} - known - {None}
        known |= new
    return sorted(found.values(), key=lambda each: each.created_at)


def _made(model: type[Version], files: set[Any]) -> Any:
    whole = model.objects.filter(state=LeaseState.SUCCEEDED).select_related("file", "result")
    return whole.filter(Q(file__in=files) | Q(result__in=files))
