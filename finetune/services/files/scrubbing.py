"""Scrubs of files: a new file of the same rows, with what is personal or secret under a mask. The
old file stays as it is; what a row was and what it became can be seen beside each other."""

import secrets
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import orjson
from django.conf import settings
from django.db.models import Q
from django.db.models.functions import Now

from faults import UserFault
from finetune.models import Dataset, Scrub
from finetune.profiling.child import profile_in_child
from finetune.profiling.personal import Found, Kind, masked, texts
from finetune.profiling.run import FINDINGS, SCRUBBED
from finetune.profiling.spec import ProfileSpec, ScrubReport
from finetune.services.files.profiling import Watched, readable_rows
from finetune.services.files.room import require_room
from finetune.services.files.versions import made_file
from finetune.states import LIVE_LEASES, DatasetState, LeaseState
from finetune.storage import fetch_file, profile_prefix, store_file
from finetune.work import leases, nudges
from finetune.work.isolation import isolation
from finetune.work.kinds import Lease, OperationKind
from finetune.work.pulse import Pulse
from finetune.work.signals import Wishes
from finetune.work.turns import require_turn
from finetune.workspace import private_folder
from tenants.access import Principal
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id, tenant_scope
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.files import chunks, keep
from tenants.services.vaults import drop_when_committed, open_vault, vault_for
from tenants.vault.vault import Vault

MOST_WAITING = 20  # scrubs of a tenant that have not ended
LARGEST_SHOWN = 1 << 20  # bytes of a row: a page of more is read by nobody
GROUPS = ("group", "item.group")  # where a group's name stands, which a scrub numbers


class Scrubbing(OperationKind):
    """One at a time of each tenant."""

    model = Scrub
    wait_seconds = 30
    lost = "The worker that scrubbed the file was lost."
    fix = "Ask for it again; if it fails again, tell the operator its id."

    def at_once(self) -> int:
        return 1

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _scrub(lease)


SCRUB = Scrubbing()


def request_scrub(*, file: StoredFile, kinds: Collection[Kind], by: Principal) -> Scrub:
    """Each call makes a new file, once its worker is done.

    Raises Refused without the scopes to read files and to bring them; UserFault for a file without
    rows or one whose check has not ended well; TooManyLive.
    """
    by.require_of(Scope.FILES_READ, file)
    by.require_of(Scope.FILES_WRITE, file)
    lock(f"scrubs:{current_tenant_id()}")
    readable_rows(file)
    require_turn(
        Scrub,
        MOST_WAITING,
        code="too_many_scrubs",
        said=f"{MOST_WAITING} files of your organisation are being scrubbed already.",
        retry_after=30,
    )
    wanted = [kind.value for kind in Kind if kind in kinds]
    scrub = Scrub.objects.create(file=file, kinds=wanted)
    nudges.wake(Scrub, scrub.tenant_id, scrub.id)
    audit.record(
        actor=by.actor,
        action="file.scrub",
        target=file.public_id,
        data={"scrub": scrub.public_id, "kinds": wanted},
    )
    return scrub


def drop_changes(*, file: StoredFile) -> None:
    """Of scrubs of the file and of the one that made it: what was changed where. The figures stay,
    as the line from file to file; a scrub under way loses its lease."""
    scrubs = Scrub.objects.filter(Q(file=file) | Q(result=file))
    names = [each.findings_object for each in scrubs if each.findings_object]
    scrubs.update(findings_object="", findings_bytes=0)
    gone = UserFault("file_deleted", "The file was deleted before it was scrubbed.")
    scrubs.filter(state__in=LIVE_LEASES).update(
        state=LeaseState.FAILED, error=gone.fields(), lease_until=None, finished_at=Now()
    )
    vault = open_vault()
    drop_when_committed(vault, names)


def _scrub(lease: Lease) -> None:
    level = isolation()  # before anything of the customer's lies in the clear
    with tenant_scope(lease.tenant_id):
        scrub = Scrub.objects.select_related("file").get(id=lease.row_id)
        vault = vault_for(lease.tenant_id)
        rows = readable_rows(scrub.file)
    with private_folder(settings.WORK_DIR, f"{lease.row_id}-{lease.epoch}") as folder:
        out = folder / "out"
        fetch_file(vault, rows.rows_object, folder / "rows", sha256=rows.rows_sha256)
        report = profile_in_child(
            ProfileSpec(rows=folder / "rows", kinds=tuple(Kind(each) for each in scrub.kinds)),
            out,
            ScrubReport,
            memory_mb=settings.CHECK_MEMORY_MB,
            seconds=settings.CHECK_SECONDS,
            progress=Watched(lease, rows.rows),
            level=level,
        )
        _keep(lease, scrub, rows, report, out, vault)


def _keep(
    lease: Lease, scrub: Scrub, rows: Dataset, report: ScrubReport, out: Path, vault: Vault
) -> None:
    with tenant_scope(lease.tenant_id):
        require_room(report.rows_bytes + (out / FINDINGS).stat().st_size)
    with (out / SCRUBBED).open("rb") as made:
        kept = keep(vault=vault, pieces=chunks(made), limit=report.rows_bytes)
    name = f"{profile_prefix(lease.row_id)}{secrets.token_hex(4)}/{FINDINGS}"
    findings = store_file(vault, name, out / FINDINGS)
    ended = False
    try:
        with leases.fenced(lease) as row:
            if not leases.grant_wishes(lease, row):
                leases.finish(
                    lease,
                    result=made_file(scrub.file, kept, "scrubbed"),
                    report=report.model_dump(mode="json"),
                    rows_sha256=rows.rows_sha256,
                    findings_object=name,
                    findings_bytes=findings.plaintext_bytes,
                    done=report.rows,
                    total=report.rows,
                )
                ended = True
    finally:
        if not ended:  # cancelled meanwhile, or the lease lost
            for each in (kept.object_name, name):
                vault.delete(each)


# --- what was changed ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Change:
    """A text of a row: as it was, and as it is. `masks`: kind and place in what it was."""

    field: str
    before: str
    after: str
    masks: list[Found]


@dataclass(frozen=True)
class ChangedRow:
    """`changes` None: the row is too large to be shown."""

    row: int
    changes: list[Change] | None


def changed_rows(*, scrub: Scrub, after: int, limit: int, by: Principal) -> list[ChangedRow]:
    """Up to `limit` of the rows that were changed, those beyond row `after`.

    Raises Refused without the scope to read files; UserFault until there are any, and once one of
    the two files is gone or is read otherwise; ObjectLost, StorageDown.
    """
    by.require_of(Scope.FILES_READ, scrub)
    source = _source(scrub)
    audit.note(actor=by.actor, action="scrub.read", target=scrub.file.public_id)
    vault = open_vault()
    with vault.open(scrub.findings_object) as lines:
        found = (orjson.loads(line) for line in lines)
        page = list(islice((each for each in found if each["row"] > after), limit))
    if not page:
        return []
    with vault.open(source.rows_object) as rows:
        return list(_changed(rows, {each["row"]: each for each in page}))


def _source(scrub: Scrub) -> Dataset:
    reading = Dataset.objects.filter(file=scrub.file_id, base=None, state=DatasetState.READY)
    source = reading.filter(rows_sha256=scrub.rows_sha256).first()
    if not scrub.findings_object or source is None or not source.rows_object:
        raise UserFault(
            "no_changes",
            "What was changed cannot be shown: the scrub has not succeeded, or one of the two "
            "files was deleted or is read otherwise now.",
            fix="Wait until the scrub has succeeded, or scrub the file anew.",
        )
    return source


def _changed(rows: Any, told_of: dict[int, dict[str, Any]]) -> Iterator[ChangedRow]:
    for number, line in enumerate(islice(rows, max(told_of)), 1):
        if number not in told_of:
            continue
        if len(line) > LARGEST_SHOWN:
            yield ChangedRow(number, None)
            continue
        places, group = told_of[number]["masked"], told_of[number].get("group")
        yield ChangedRow(
            number,
            [
                _change(place, text, places[place], group if place in GROUPS else None)
                for place, text, _ in texts(orjson.loads(line))
                if place in places
            ],
        )


def _change(place: str, text: str, told: list[Any], group: str | None) -> Change:
    found = [Found(start, end, Kind(kind)) for start, end, kind in told]
    return Change(place, text, group or masked(text, found), found)
