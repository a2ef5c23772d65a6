"""The worker's side of a check: decrypt into a private folder, read in a limited child, freeze."""

import logging
import secrets
import time
from datetime import timedelta
from pathlib import Path
from typing import Any, cast
from uuid import UUID

from django.conf import settings
from django.db import connection
from django.db.models import Q, Value
from django.db.models.functions import Now

from faults import Fault, UserFault
from faults.disk import DiskFull, is_full
from finetune.models import Dataset, Job
from finetune.purposes import OF_ROWS
from finetune.records.check import CODES, CheckReport, CheckSpec, check_in_child
from finetune.sandbox.levels import SandboxMissing
from finetune.services.files.room import require_room
from finetune.services.jobs.steps import note
from finetune.services.runs.leases import as_error
from finetune.states import DatasetState, JobState
from finetune.storage import dataset_prefix, delete_prefix, fetch_file, store_file
from finetune.work import fitness, nudges
from finetune.work.isolation import isolation
from finetune.work.leases import LeaseLost
from finetune.work.pulse import Pulse
from finetune.work.waiting import reason_of
from finetune.workspace import private_folder
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.services.vaults import vault_for
from tenants.states import FileStatus
from tenants.vault.errors import KeyUnavailable, StorageDown, StorageFull
from tenants.vault.vault import Vault

log = logging.getLogger(__name__)

LOOK_SECONDS = 1.0  # between two looks at whether the check is still wanted
WAIT_SECONDS = 30  # before storage or disk are tried again

FAILED = {
    "family": "ours",
    "code": "check_failed",
    "message": "The check itself failed; the file may be in order.",
    "where": None,
    "param": None,
    "fix": "Create the job again, or upload the file again; tell the operator if it fails again.",
}

CLAIM = """
UPDATE finetune_dataset
SET state = 'checking', lease_until = clock_timestamp() + %(lease)s, updated_at = now()
WHERE id = %(id)s AND state IN ('pending', 'checking')
  AND (lease_until IS NULL OR lease_until < clock_timestamp())
"""
BEAT = """
UPDATE finetune_dataset SET lease_until = clock_timestamp() + %(lease)s
WHERE id = %(id)s AND state = 'checking'
"""


def check(*, tenant_id: UUID, dataset_id: UUID) -> None:
    """Reads the file once, whoever asks how often; the row says what came out.

    A check is a pure function of the file, so a second worker that believes the first dead does
    harm to nobody: the first to write its result wins.
    """
    if missing := _missing_here(tenant_id, dataset_id):
        _say_why(tenant_id, dataset_id, missing)
        return
    if not _write(CLAIM, tenant_id, dataset_id):
        return

    def beat() -> None:
        if not _write(BEAT, tenant_id, dataset_id):
            raise LeaseLost

    with Pulse(beat, lambda: None, None):
        try:
            _check(tenant_id, dataset_id)
        except LeaseLost:
            log.info("the check of dataset %s is no longer wanted", dataset_id)
        except (StorageFull, StorageDown, KeyUnavailable, SandboxMissing, DiskFull) as error:
            _wait(tenant_id, dataset_id, reason_of(error))
        except Fault as error:
            _end(tenant_id, dataset_id, DatasetState.REFUSED, error=_as_error(error))
        except OSError as error:
            if is_full(error):
                _wait(tenant_id, dataset_id, str(DiskFull()))
            else:
                log.exception("the check of dataset %s failed", dataset_id)
                _end(tenant_id, dataset_id, DatasetState.REFUSED, error=FAILED)
        except Exception:
            # Ended and not left to the sweeper: what failed here would fail at every sweep.
            log.exception("the check of dataset %s failed", dataset_id)
            _end(tenant_id, dataset_id, DatasetState.REFUSED, error=FAILED)


def _check(tenant_id: UUID, dataset_id: UUID) -> None:
    level = isolation()  # before anything of the customer's lies in the clear
    with tenant_scope(tenant_id):
        dataset = Dataset.objects.select_related("file", "base").get(id=dataset_id)
        vault = vault_for(tenant_id)
    with private_folder(settings.WORK_DIR, f"check-{dataset_id}") as folder:
        source, out = folder / "source", folder / "out"
        out.mkdir(mode=0o700)
        fetch_file(vault, dataset.file.object_name, source, sha256=dataset.file.sha256)
        report = check_in_child(
            _spec_of(dataset, source),
            out,
            memory_mb=settings.CHECK_MEMORY_MB,
            seconds=settings.CHECK_SECONDS,
            progress=_Wanted(tenant_id, dataset_id),
            level=level,
        )
        _freeze(tenant_id, dataset, report, out, vault)


class _Wanted:
    """Told of the child's progress: raises LeaseLost, which kills it, once the row has ended, as it
    does when the file is deleted."""

    def __init__(self, tenant_id: UUID, dataset_id: UUID) -> None:
        self._tenant_id, self._dataset_id = tenant_id, dataset_id
        self._looked = 0.0

    def __call__(self, read: int, total: int) -> None:
        if time.monotonic() - self._looked < LOOK_SECONDS:
            return
        self._looked = time.monotonic()
        with tenant_scope(self._tenant_id):
            rows = Dataset.objects.filter(id=self._dataset_id, state=DatasetState.CHECKING)
            if not rows.exists():
                raise LeaseLost


def _spec_of(dataset: Dataset, source: Path) -> CheckSpec:
    base = dataset.base
    return CheckSpec(
        source=source,
        source_name=dataset.file.filename,
        tokenizer_dir=settings.MODEL_STORE / base.path if base else None,
        max_length=dataset.max_length,
        overflow=cast(Any, dataset.overflow),  # one of pydantic's three, or it raises
    )


def _freeze(
    tenant_id: UUID, dataset: Dataset, report: CheckReport, out: Path, vault: Vault
) -> None:
    """Stores rows and problems under names of this attempt, then writes the row, once.

    The problems quote the file, so they stand in the vault and the row has figures only.
    """
    with tenant_scope(tenant_id):
        require_room(report.rows_bytes)
    prefix = dataset_prefix(dataset.id, secrets.token_hex(4))
    rows = store_file(vault, prefix + "rows.jsonl", out / "rows.jsonl")
    errors = store_file(vault, prefix + "errors.jsonl", out / "errors.jsonl")
    won = _end(
        tenant_id,
        dataset.id,
        DatasetState.READY if report.ok else DatasetState.REFUSED,
        format=report.format or "",  # none could be told
        report=report.figures(),
        error=None,
        rows=report.rows_usable,
        tokens_trained=report.tokens_trained or 0,
        rows_object=prefix + "rows.jsonl",
        rows_sha256=rows.sha256,
        errors_object=prefix + "errors.jsonl",
        errors_bytes=errors.plaintext_bytes,
    )
    if not won:
        delete_prefix(vault, prefix)


def _end(tenant_id: UUID, dataset_id: UUID, state: DatasetState, **result: Any) -> bool:
    """Writes the result unless another worker has; the file's status follows a structure check."""
    with tenant_scope(tenant_id):
        won = Dataset.objects.filter(id=dataset_id, state=DatasetState.CHECKING).update(
            state=state, lease_until=None, **result
        )
        dataset = Dataset.objects.select_related("base", "file").get(id=dataset_id)
        if won and dataset.base is None:
            _mark_file(dataset)
        if won:
            _nudge_jobs(dataset)
    return bool(won)


def _mark_file(dataset: Dataset) -> None:
    ok = dataset.state == DatasetState.READY
    StoredFile.objects.filter(id=dataset.file.id, purpose__in=OF_ROWS).update(
        status=FileStatus.PROCESSED if ok else FileStatus.ERROR,
        status_details=None if ok else summary(dataset),
    )


def _nudge_jobs(dataset: Dataset) -> None:
    """Jobs that wait for this reading need not wait for the sweeper."""
    for job in _jobs_waiting_for(dataset):
        nudges.nudge(nudges.VALIDATE_JOB, job.tenant_id, job.id)


def _jobs_waiting_for(dataset: Dataset) -> list[Job]:
    needs = Q(training_data=dataset) | Q(validation_data=dataset)
    return list(Job.objects.filter(needs, state=JobState.VALIDATING_FILES))


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


def _wait(tenant_id: UUID, dataset_id: UUID, reason: str) -> None:
    """Back to pending, not to be claimed for a while; jobs that need it say what they wait for."""
    log.warning("the check of dataset %s waits: %s", dataset_id, reason)
    later: Any = Now() + Value(timedelta(seconds=WAIT_SECONDS))
    with tenant_scope(tenant_id):
        before = Dataset.objects.get(id=dataset_id)
        Dataset.objects.filter(id=dataset_id, state=DatasetState.CHECKING).update(
            state=DatasetState.PENDING, lease_until=later, error=_waits(before, reason)
        )


def _waits(before: Dataset, reason: str) -> dict[str, str]:
    """The row's error while it waits; jobs that need the reading say a new reason once."""
    error = {"family": "outside", "code": "waiting", "message": reason}
    if before.error != error:
        for job in _jobs_waiting_for(before):
            note(job, f"Waiting: {reason}", level="warn")
    return error


def _missing_here(tenant_id: UUID, dataset_id: UUID) -> str:
    """What this worker lacks for the check, another one may have; empty if nothing."""
    with tenant_scope(tenant_id):
        due = Dataset.objects.filter(
            id=dataset_id, state__in=(DatasetState.PENDING, DatasetState.CHECKING)
        )
        dataset = due.select_related("base").first()
    if dataset is None or dataset.base is None:
        return ""
    return fitness.lack_of(dataset.base, weights=False)


def _say_why(tenant_id: UUID, dataset_id: UUID, reason: str) -> None:
    """The reading stays as it is, to be claimed by a worker that lacks nothing."""
    with tenant_scope(tenant_id):
        waiting = Dataset.objects.filter(id=dataset_id, state=DatasetState.PENDING)
        dataset = waiting.select_for_update().first()
        if dataset is not None:
            Dataset.objects.filter(id=dataset_id).update(error=_waits(dataset, reason))


def _write(statement: str, tenant_id: UUID, dataset_id: UUID) -> bool:
    lease: Any = timedelta(seconds=settings.LEASE_SECONDS)
    with tenant_scope(tenant_id), connection.cursor() as cursor:
        cursor.execute(statement, {"id": dataset_id, "lease": lease})
        return bool(cursor.rowcount)


def _as_error(error: Fault) -> dict[str, Any]:
    family = "user" if isinstance(error, UserFault) else "ours"
    return as_error(error) | {"family": family}
