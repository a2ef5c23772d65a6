"""Profiles of files: asked for, made under a lease in a limited child, and given to who may read
files."""

import secrets
import time
from pathlib import Path
from typing import Any, BinaryIO

import orjson
from django.conf import settings
from django.db.models import Q

from faults import UserFault
from finetune.models import Dataset, Profile
from finetune.profiling.child import profile_in_child
from finetune.profiling.run import FINDINGS, TAGS
from finetune.profiling.spec import VERSION, ProfileReport, ProfileSpec
from finetune.purposes import OF_ROWS, Purpose
from finetune.services.files.room import require_room
from finetune.states import LIVE_LEASES, DatasetState, LeaseState
from finetune.storage import delete_prefix, fetch_file, profile_prefix, store_file
from finetune.work import leases, nudges
from finetune.work.isolation import isolation
from finetune.work.kinds import Lease, OperationKind
from finetune.work.perform import shutdown
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.work.turns import require_turn
from finetune.workspace import private_folder
from tenants.access import Principal
from tenants.database.locks import lock
from tenants.database.scope import current_tenant_id, tenant_scope
from tenants.errors import NotFound
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.vaults import drop_when_committed, open_vault, vault_for
from tenants.vault.vault import Vault

MOST_WAITING = 20  # profiles of a tenant that have not ended
LOOK_SECONDS = 1.0  # between two looks at whether it is still wanted


class Profiling(OperationKind):
    """One at a time of each tenant: it takes a worker as long as a check does."""

    model = Profile
    wait_seconds = 30
    lost = "The worker that profiled the file was lost."
    fix = "Ask for the profile again; if it fails again, tell the operator its id."

    def at_once(self) -> int:
        return 1

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _profile(lease)


PROFILE = Profiling()


def request_profile(*, file: StoredFile, against: StoredFile | None, by: Principal) -> Profile:
    """The one profile of `file`, alone or against another; made, or made anew where it failed or an
    older version made it.

    Raises Refused without the scope to bring files; UserFault for a file without rows, one whose
    check has not ended well, or the same file twice; TooManyLive.
    """
    for each in (file, against):
        if each is not None:
            by.require_of(Scope.FILES_WRITE, each)
    readable_rows(file)
    if against is not None:
        _require_other(file, against)
    lock(f"profiles:{current_tenant_id()}")  # so that what comes at once is made once, and counted
    profile = Profile.objects.filter(file=file, against=against).first()
    made = profile is None
    if profile is None:
        _require_turn()
        profile = Profile.objects.create(file=file, against=against)
    elif _is_stale(profile):
        _require_turn()
        profile = _renewed(profile)
    if profile.state in LIVE_LEASES:
        nudges.wake(Profile, profile.tenant_id, profile.id)
    if made:
        audit.record(
            actor=by.actor,
            action="file.profile",
            target=file.public_id,
            data={"against": against.public_id} if against is not None else {},
        )
    return profile


def readable_rows(file: StoredFile, *, param: str = "file") -> Dataset:
    """The reading of its structure, whose rows are those that can be used. Raises UserFault of the
    field `param`."""
    if file.purpose not in OF_ROWS:
        raise UserFault(
            "invalid_file_purpose",
            f"The file {file.public_id} has the purpose {file.purpose!r}: its rows are not read.",
            fix=f"Use a file of the purpose {OF_ROWS[0]!r}.",
            param=param,
        )
    reading = Dataset.objects.filter(file=file, base=None, state=DatasetState.READY).first()
    if reading is None or not reading.rows_object:
        raise UserFault(
            "file_not_ready",
            f"The file {file.public_id} has not passed its check.",
            fix="Wait until its status is `processed`; what its report names has to be mended.",
            param=param,
        )
    return reading


def _require_other(file: StoredFile, against: StoredFile) -> None:
    if against.id == file.id:
        raise UserFault(
            "invalid_value",
            "`against` is the file itself.",
            fix="Name the file of what is held out, or none.",
            param="against",
        )
    if against.purpose != Purpose.EVALS:
        readable_rows(against, param="against")


def _require_turn() -> None:
    require_turn(
        Profile,
        MOST_WAITING,
        code="too_many_profiles",
        said=f"{MOST_WAITING} profiles of your organisation's files are being made already.",
        retry_after=30,
    )


def _is_stale(profile: Profile) -> bool:
    if profile.state == LeaseState.SUCCEEDED:
        return bool((profile.report or {}).get("version") != VERSION)
    return profile.state not in LIVE_LEASES


def _renewed(profile: Profile) -> Profile:
    Profile.objects.filter(id=profile.id).update(
        state=LeaseState.WAITING, attempts=0, error=None, wait_reason="", finished_at=None,
        cancel_requested_at=None, not_before=None, done=0, total=None,
    )  # fmt: skip
    profile.refresh_from_db()
    return profile


def open_findings(*, profile: Profile, by: Principal) -> BinaryIO:
    """JSON lines: which rows repeat which, ask what is held out, or hold something personal, and
    where; a stream that outlives the open scope. No word of the file's, but where its words are.

    Raises Refused without the scope to read files; NotFound until it is made; ObjectLost,
    StorageDown.
    """
    by.require_of(Scope.FILES_READ, profile)
    if not profile.findings_object:
        raise NotFound(
            "no_findings", "The profile has no findings yet.", fix="Wait until it has succeeded."
        )
    stream = open_vault().open(profile.findings_object)
    audit.note(actor=by.actor, action="profile.download", target=profile.file.public_id)
    return stream


def drop_profiles(*, file: StoredFile) -> None:
    """Of the file, alone and beside others, with their objects: its rows are gone or read anew. One
    that is being made loses its lease with its row."""
    profiles = Profile.objects.filter(Q(file=file) | Q(against=file))
    names = [name for each in profiles for name in each.objects_named]
    profiles.delete()
    vault = open_vault()
    drop_when_committed(vault, names)


def _profile(lease: Lease) -> None:
    level = isolation()  # before anything of the customer's lies in the clear
    with tenant_scope(lease.tenant_id):
        profile = Profile.objects.select_related("file", "against").get(id=lease.row_id)
        vault = vault_for(lease.tenant_id)
        rows = readable_rows(profile.file)
        other = _other_rows(profile.against)
    with private_folder(settings.WORK_DIR, f"{lease.row_id}-{lease.epoch}") as folder:
        fetch_file(vault, rows.rows_object, folder / "rows", sha256=rows.rows_sha256)
        if other is not None:
            name, sha256 = other
            fetch_file(vault, name, folder / "against", sha256=sha256)
        report = profile_in_child(
            ProfileSpec(rows=folder / "rows", against=folder / "against" if other else None),
            folder / "out",
            ProfileReport,
            memory_mb=settings.CHECK_MEMORY_MB,
            seconds=settings.CHECK_SECONDS,
            progress=Watched(lease, rows.rows),
            level=level,
        )
        _keep(lease, report, folder / "out", vault)


def _other_rows(against: StoredFile | None) -> tuple[str, str] | None:
    """Object and SHA-256; of an evaluation's file, which is not checked, its own bytes."""
    if against is None:
        return None
    if against.purpose == Purpose.EVALS:
        return against.object_name, against.sha256
    reading = readable_rows(against)
    return reading.rows_object, reading.rows_sha256


class Watched:
    """Told of a child's progress, at least each second. Raises what kills it: LeaseLost once the
    row has ended or gone, as it does with its file, and Stopped where somebody wants that."""

    def __init__(self, lease: Lease, total: int) -> None:
        self._lease, self._total = lease, total
        self._looked = 0.0
        self._told = 0

    def __call__(self, read: int, total: int, rows: int) -> None:
        now = time.monotonic()
        if now - self._looked < LOOK_SECONDS:
            return
        self._looked = now
        if leases.wishes(self._lease).cancel or shutdown.asked:
            raise Stopped
        if rows > self._told:
            self._told = rows
            leases.tell_progress(self._lease, done=rows, total=self._total)


def _keep(lease: Lease, report: ProfileReport, out: Path, vault: Vault) -> None:
    with tenant_scope(lease.tenant_id):
        require_room((out / FINDINGS).stat().st_size)
    prefix = f"{profile_prefix(lease.row_id)}{secrets.token_hex(4)}/"
    findings = store_file(vault, prefix + FINDINGS, out / FINDINGS)
    store_file(vault, prefix + TAGS, out / TAGS)
    columns: dict[str, Any] = {
        "report": report.model_dump(mode="json"),
        "findings_object": prefix + FINDINGS,
        "findings_bytes": findings.plaintext_bytes,
        "tags_object": prefix + TAGS,
        "done": report.rows,
        "total": report.rows,
    }
    try:
        with leases.fenced(lease) as row:
            old = row.objects_named
            leases.finish(lease, **columns)
            drop_when_committed(vault, old)
    except LeaseLost:
        delete_prefix(vault, prefix)
        raise


def rows_by_tag(*, profile: Profile, by: Principal) -> dict[str, int]:
    """Raises as `open_findings`."""
    by.require_of(Scope.FILES_READ, profile)
    audit.note(actor=by.actor, action="profile.read", target=profile.file.public_id)
    told: dict[str, int] = orjson.loads(open_vault().read_bytes(profile.tags_object))
    return told
