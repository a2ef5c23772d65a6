"""What a file calls its fields, as whoever brought it says: given once, and true of every reading
that is made from then on."""

from django.db.transaction import on_commit

from faults import UserFault
from finetune.models import Dataset, Job
from finetune.purposes import OF_ROWS
from finetune.records.check.columns import Columns, check_columns
from finetune.services.files.datasets import columns_key, reading_of, request_check
from finetune.services.files.needs import of_file
from finetune.services.files.profiling import drop_profiles
from finetune.states import LIVE_DATASET_STATES, DatasetState, JobState
from tenants.errors import Conflict
from tenants.models import StoredFile
from tenants.services import audit, files
from tenants.services.vaults import open_vault
from tenants.states import FileStatus


def map_columns(*, file: StoredFile, columns: Columns, actor: str) -> Dataset:
    """Has the file read so (an empty mapping: as it calls its fields itself), and its structure
    checked anew. Jobs that were made ready before keep their own reading.

    Raises UserFault for what cannot be a mapping, or a file without rows; NotFound; Conflict while
    the file is being checked, or a job with it is being made ready.
    """
    check_columns(columns)
    locked = StoredFile.objects.select_for_update().filter(id=file.id, deleted_at=None).first()
    if locked is None:
        raise files.no_such_file()
    if locked.purpose not in OF_ROWS:
        raise UserFault(
            "invalid_file_purpose",
            f"The file {locked.public_id} has the purpose {locked.purpose!r}: it has no columns.",
            param="file",
        )
    structure = reading_of(file=locked, base=None, max_length=None, overflow="refuse")
    if structure.columns == dict(columns):
        return request_check(file=locked)
    _require_idle(locked, structure)
    _read_anew(structure, columns)
    drop_profiles(file=locked)
    locked.status, locked.status_details = FileStatus.UPLOADED, None
    locked.save(update_fields=["status", "status_details"])
    audit.record(
        actor=actor,
        action="file.columns",
        target=locked.public_id,
        data={"fields": sorted(columns)},
    )
    return request_check(file=locked)


def _require_idle(file: StoredFile, structure: Dataset) -> None:
    if structure.state in LIVE_DATASET_STATES:
        raise Conflict(
            "file_not_ready",
            f"The file {file.public_id} is still being checked.",
            fix="Give the columns when its check has ended.",
        )
    job = Job.objects.filter(of_file(file.id), state=JobState.VALIDATING_FILES).first()
    if job is not None:
        raise Conflict(
            "file_in_use",
            f"The fine-tuning job {job.public_id} is being made ready with this file.",
            fix="Wait until the job is queued, or cancel it, then give the columns.",
        )


def _read_anew(structure: Dataset, columns: Columns) -> None:
    vault = open_vault()
    gone = structure.objects_named
    Dataset.objects.filter(id=structure.id).update(
        columns=dict(columns),
        columns_key=columns_key(columns),
        state=DatasetState.PENDING,
        attempts=0,
        not_before=None,
        wait_reason="",
        finished_at=None,
        format="",
        report=None,
        error=None,
        rows=0,
        tokens_trained=0,
        rows_object="",
        rows_sha256="",
        tokens_object="",
        tokens_sha256="",
        errors_object="",
        errors_bytes=0,
    )

    def drop() -> None:
        for name in gone:
            vault.delete(name)

    on_commit(drop)
