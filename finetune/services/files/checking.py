"""The kind of work that checks a file: decrypt into a private folder, read in a limited child,
freeze."""

import secrets
import time
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db.models import QuerySet

from faults import Fault
from finetune.events import FileBeingChecked, FileBeingRead, waits
from finetune.events.waits import NextAttempt, Wait
from finetune.models import Dataset, Job, Validation
from finetune.purposes import OF_ROWS
from finetune.records.check.child import check_in_child
from finetune.records.check.codes import CODES
from finetune.records.check.run import TOKENS
from finetune.records.check.spec import CheckReport, CheckSpec
from finetune.services.files.needs import of_file, of_reading
from finetune.services.files.room import require_room
from finetune.states import DatasetState, JobState
from finetune.storage import dataset_prefix, delete_prefix, fetch_file, store_file
from finetune.trainer.cores import available_cores
from finetune.work import fitness, leases, nudges
from finetune.work.history import note
from finetune.work.isolation import isolation
from finetune.work.kinds import Kind, Lease
from finetune.work.perform import shutdown
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.workspace import private_folder
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.vaults import vault_for
from tenants.states import FileStatus
from tenants.vault.vault import Vault

LOOK_SECONDS = 1.0  # between two looks at whether the check is still wanted
TELL_SECONDS = 10.0  # between two words of how far it is: half an hour's check says it 180 times


class Checking(Kind):
    """Reads a file for one model; the subject is the reading itself. A check is a pure function of
    the file: whoever asks again gets the same row."""

    model = Dataset
    wait_seconds = 30
    lost = "The worker that checked it was lost."
    fix = "Create the job again, or upload the file again; tell the operator if it fails again."

    def at_once(self) -> int:
        """One that brings slow files would stop everybody's checks."""
        return int(settings.CHECKS_AT_ONCE)

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _check(lease)

    def lack(self, *, tenant_id: UUID, key: UUID) -> Wait | None:
        with tenant_scope(tenant_id):
            dataset = Dataset.objects.select_related("base").filter(id=key).first()
        base = dataset.base if dataset is not None else None
        return fitness.lack_of(base, weights=False) if base is not None else None

    def fault(self, code: str, message: str) -> Fault:
        why = "The check itself failed; the file may be in order."
        return super().fault("check_failed", why)

    def on_wait(self, subject: Dataset, reason: Wait, *, is_new: bool) -> None:
        _say_why(subject, reason)

    def on_postpone(self, subject: Dataset, reason: Wait) -> None:
        _say_why(subject, reason)

    def on_retry(self, subject: Dataset, fault: Fault, *, attempts: int, most: int) -> None:
        _say_why(subject, NextAttempt(error=fault.code))

    def on_fail(self, subject: Dataset, fault: Fault) -> dict[str, Any]:
        subject.error = fault.as_dict()
        _tell(subject, ok=False)
        return {"error": subject.error}


CHECK = Checking()


def _check(lease: Lease) -> None:
    level = isolation()  # before anything of the customer's lies in the clear
    with tenant_scope(lease.tenant_id):
        dataset = Dataset.objects.select_related("file", "base").get(id=lease.row_id)
        vault = vault_for(lease.tenant_id)
    with private_folder(settings.WORK_DIR, f"check-{dataset.id}") as folder:
        source, out = folder / "source", folder / "out"
        out.mkdir(mode=0o700)
        fetch_file(vault, dataset.file.object_name, source, sha256=dataset.file.sha256)
        report = check_in_child(
            _spec_of(dataset, source),
            out,
            memory_mb=settings.CHECK_MEMORY_MB,
            seconds=settings.CHECK_SECONDS,
            progress=_Wanted(lease, dataset),
            level=level,
        )
        _freeze(lease, report, out, vault)


class _Wanted:
    """Told of the child's progress, which it passes on to the jobs that wait. Raises what kills it:
    LeaseLost once the row has ended, as it does when the file is deleted, and Stopped when the
    worker is told to stop."""

    def __init__(self, lease: Lease, dataset: Dataset) -> None:
        self._lease = lease
        self._dataset = dataset
        self._looked = 0.0
        self._told = time.monotonic()  # a short check says nothing on the way

    def __call__(self, read: int, total: int, rows: int) -> None:
        now = time.monotonic()
        if now - self._looked >= LOOK_SECONDS:
            self._looked = now
            leases.wishes(self._lease)
            if shutdown.asked:
                raise Stopped
        if total and now - self._told >= TELL_SECONDS:
            self._told = now
            _tell_how_far(self._dataset, rows=rows, percent=100 * read // total)


def _tell_how_far(dataset: Dataset, *, rows: int, percent: int) -> None:
    kind = FileBeingChecked if dataset.base_id is None else FileBeingRead
    said = kind(file=dataset.file.public_id, rows=rows, percent=percent)
    with tenant_scope(dataset.tenant_id):
        # Locked, so that none of them ends meanwhile; in one order, as two checks may do so at once
        for job in _waiting(dataset).order_by("id").select_for_update():
            note(job, said)


def _spec_of(dataset: Dataset, source: Path) -> CheckSpec:
    base = dataset.base
    return CheckSpec(
        source=source,
        source_name=dataset.file.filename,
        tokenizer_dir=settings.MODEL_STORE / base.path if base else None,
        max_length=dataset.max_length,
        overflow=cast(Any, dataset.overflow),  # one of pydantic's three, or it raises
        thinking=cast(Any, dataset.thinking),
        columns=dataset.columns,
        workers=available_cores(),
    )


def _freeze(lease: Lease, report: CheckReport, out: Path, vault: Vault) -> None:
    """Stores rows and problems under names of this attempt, then writes the row, once.

    The problems quote the file, so they stand in the vault and the row has figures only.
    """
    with tenant_scope(lease.tenant_id):
        require_room(report.rows_bytes + report.tokens_bytes)
    prefix = dataset_prefix(lease.row_id, secrets.token_hex(4))
    rows = store_file(vault, prefix + "rows.jsonl", out / "rows.jsonl")
    errors = store_file(vault, prefix + "errors.jsonl", out / "errors.jsonl")
    frozen = store_file(vault, prefix + TOKENS, out / TOKENS) if report.tokens_bytes else None
    columns = {
        "format": report.format or "",  # none could be told
        "report": report.figures(),
        "error": None,
        "rows": report.records,
        "tokens_trained": report.tokens_trained or 0,
        "rows_object": prefix + "rows.jsonl",
        "rows_sha256": rows.sha256,
        "tokens_object": prefix + TOKENS if frozen else "",
        "tokens_sha256": frozen.sha256 if frozen else "",
        "errors_object": prefix + "errors.jsonl",
        "errors_bytes": errors.plaintext_bytes,
    }
    try:
        with leases.fenced(lease) as dataset:
            state = DatasetState.READY if report.ok else DatasetState.REFUSED
            leases.end(lease, state, **columns)
            dataset.refresh_from_db()
            _tell(dataset, ok=report.ok)
    except LeaseLost:
        delete_prefix(vault, prefix)
        raise


def _say_why(dataset: Dataset, wait: Wait) -> None:
    """The row's error while it waits."""
    error = {
        "family": "outside",
        "code": "waiting",
        "message": wait.text,
        "waits_for": wait.code,
        "about": wait.params,
    }
    Dataset.objects.filter(id=dataset.id).update(error=error)


def why_waiting(dataset: Dataset) -> Wait | None:
    """None: it waits for nothing but its turn, or a worker is at it for the first time."""
    told = dataset.error or {}
    return waits.read(told.get("waits_for", ""), told.get("about", {}))


def _tell(dataset: Dataset, *, ok: bool) -> None:
    """The file's status follows a structure check; jobs that wait for this reading need not wait
    for the sweeper."""
    if dataset.base_id is None:
        StoredFile.objects.filter(id=dataset.file_id, purpose__in=OF_ROWS).update(
            status=FileStatus.PROCESSED if ok else FileStatus.ERROR,
            status_details=None if ok else summary(dataset),
        )
    for job_id in _waiting(dataset).values_list("id", flat=True):
        nudges.wake(Validation, dataset.tenant_id, job_id)


def _waiting(dataset: Dataset) -> "QuerySet[Job]":
    """The jobs that wait for this reading."""
    needs = of_reading(dataset.id)
    if dataset.base_id is None:
        needs |= of_file(dataset.file_id)
    return Job.objects.filter(needs, state=JobState.VALIDATING_FILES)


def summary(dataset: Dataset) -> str:
    """What is wrong with a refused reading, in one or two sentences and no word of the file's:
    this stands in the file's row, in the job's error and in its events."""
    if dataset.error:
        return str(dataset.error["message"])
    report = dataset.report or {}
    first = report.get("first_error")
    counts = ", ".join(f"{code} ({n})" for code, n in report.get("problem_counts", {}).items())
    if not first:
        return f"The file cannot be trained on: {counts}."
    where = f"line {first['line']}" if first["line"] else "the file"
    return f"{where}: {CODES[first['code']].title} Found: {counts}."
