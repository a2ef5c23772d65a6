"""Takes customers' files in and lets go of them: bytes to the vault, a row, the check of a
training file; never while a transaction is open for longer than the rows need."""

from collections.abc import Iterable
from typing import BinaryIO, cast
from uuid import UUID

from django.conf import settings
from django.db.models import Q

from faults import UserFault
from finetune.models import (
    Artifact,
    Checkpoint,
    Dataset,
    Evaluation,
    Job,
    JobFile,
    Stage,
    StepSample,
)
from finetune.purposes import BROUGHT, OF_ROWS, Purpose
from finetune.services.files.datasets import request_check
from finetune.services.files.needs import StillNeeded, of_file
from finetune.services.files.profiling import drop_profiles
from finetune.services.files.room import require_room
from finetune.services.files.scrubbing import drop_changes
from finetune.services.files.versions import drop_minings
from finetune.states import (
    LIVE_DATASET_STATES,
    LIVE_JOB_STATES,
    LIVE_LEASES,
    DatasetState,
    JobState,
)
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict
from tenants.models import StoredFile, Upload
from tenants.services import files, idempotency, uploads
from tenants.services.files import Kept, chunks, keep
from tenants.services.vaults import drop_when_committed, open_vault
from tenants.states import FileStatus
from tenants.vault.vault import Vault

MADE = ", ".join(repr(each.value) for each in Purpose if each not in BROUGHT)


def check_purpose(purpose: str) -> None:
    """Raises UserFault for a purpose that cannot be brought."""
    if purpose not in BROUGHT:
        raise UserFault(
            "invalid_purpose",
            f"Files with the purpose {purpose[:32]!r} cannot be uploaded here.",
            fix=f"Use one of: {', '.join(BROUGHT)}. Files of {MADE} are made by jobs.",
            param="purpose",
        )


def vault_of(tenant_id: UUID) -> Vault:
    with tenant_scope(tenant_id):
        return open_vault()


def keep_bytes(*, vault: Vault, source: BinaryIO | Iterable[bytes], limit: int = 0) -> Kept:
    """Streams into the vault, outside any scope. Raises Invalid beyond `limit` (default: the
    largest file of the settings)."""
    pieces = chunks(cast(BinaryIO, source)) if hasattr(source, "read") else source
    return keep(vault=vault, pieces=pieces, limit=limit or settings.MAX_FILE_BYTES)


def receive_file(
    *, filename: str, purpose: str, kept: Kept, life: int | None = None, actor: str
) -> StoredFile:
    """Names kept bytes, in the open scope, and has a training file's structure checked.

    Raises UserFault for an unknown purpose, an empty training file or a full storage, Invalid for
    a bad `life`.
    """
    check_purpose(purpose)
    of_rows = purpose in OF_ROWS
    if of_rows and kept.bytes == 0:
        raise UserFault(
            "empty_file",
            "The file is empty.",
            fix="Upload a file with at least one row.",
            param="file",
        )
    require_room(kept.bytes)
    status = FileStatus.UPLOADED if of_rows else FileStatus.PROCESSED
    file = files.create_file(
        filename=filename, purpose=purpose, kept=kept, status=status, life=life, actor=actor
    )
    if of_rows:
        request_check(file=file)
    return file


def delete_file(*, file_id: UUID, actor: str, action: str = "file.delete") -> None:
    """Destroys a file's bytes, every reading of it, and its name wherever that stands.

    Raises NotFound, and Conflict while a job that has not ended needs it.
    """
    file = StoredFile.objects.select_for_update().filter(id=file_id, deleted_at=None).first()
    if file is None:
        raise files.no_such_file()
    job = Job.objects.filter(of_file(file.id), state__in=LIVE_JOB_STATES).first()
    if job is not None:
        raise StillNeeded(job)
    if (
        evaluation := Evaluation.objects.filter(file=file, state__in=LIVE_LEASES).first()
    ) is not None:
        raise StillNeeded(evaluation)
    needs = Q(training_file=file) | Q(validation_file=file)
    if stage := Stage.objects.filter(needs, job=None, pipeline__state__in=LIVE_LEASES).first():
        raise StillNeeded(stage.pipeline)
    _drop_readings(file)
    drop_profiles(file=file)
    drop_changes(file=file)
    drop_minings(file=file)
    _drop_items(file)
    _drop_samples(file)
    _drop_name(file)
    files.delete_file(file_id=file_id, actor=actor, action=action)


def expire_file(*, tenant_id: UUID, file_id: UUID) -> None:
    """Deletes a file whose time has come; one that a live job needs waits for the job's end."""
    with tenant_scope(tenant_id):
        due = StoredFile.objects.filter(id=file_id, deleted_at=None, expires_at__isnull=False)
        if not due.exists():
            return
        try:
            delete_file(file_id=file_id, actor="system:expiry", action="file.expire")
        except Conflict:
            return


def tidy_tenant(*, tenant_id: UUID) -> None:
    """Lets go of uploads that nobody finished in time, of answers kept for repetitions, and of the
    checkpoints of jobs that ended without a model."""
    with tenant_scope(tenant_id):
        _drop_spent_checkpoints()
        uploads.sweep_expired(actor="system:expiry")
        idempotency.forget_old()


def _drop_spent_checkpoints() -> None:
    """Their rows stay, as part of the job's history."""
    spent = Checkpoint.objects.filter(job__state__in=(JobState.FAILED, JobState.CANCELLED))
    left = list(spent.exclude(files={}))
    names = [each.prefix + name for each in left for name in each.files]
    Checkpoint.objects.filter(id__in=[each.id for each in left]).update(files={})
    vault = open_vault()
    drop_when_committed(vault, names)


def _drop_readings(file: StoredFile) -> None:
    """The figures of a reading stay for the job that was trained on it; its bytes go, and the rows
    of the other readings.

    A check under way finds its row ended: it is killed, and lets go of what it made.
    """
    vault = open_vault()
    readings = Dataset.objects.select_for_update().filter(file=file)
    waiting = readings.filter(state__in=LIVE_DATASET_STATES)
    under_way = list(waiting.values_list("id", flat=True))
    why = "The file was deleted before its check ended."
    deleted = UserFault("file_deleted", why, fix="Upload it again.")
    waiting.update(state=DatasetState.REFUSED, error=deleted.as_dict())
    names = [name for each in readings for name in each.objects_named]
    Dataset.objects.filter(file=file).update(
        rows_object="", tokens_object="", errors_object="", columns={}
    )
    jobs = Job.objects.filter(of_file(file.id))
    pairs = jobs.values_list("training_data_id", "validation_data_id")
    used = {reading for pair in pairs for reading in pair if reading is not None}
    further = JobFile.objects.filter(file=file, data__isnull=False)
    used |= set(further.values_list("data_id", flat=True))
    readings.exclude(id__in=[*used, *under_way]).delete()
    drop_when_committed(vault, names)


def _drop_items(file: StoredFile) -> None:
    """An evaluation's figures stay; its items and tags quote the file and go with it."""
    vault = open_vault()
    evaluations = Evaluation.objects.filter(file=file)
    names = [name for each in evaluations for name in each.objects_named]
    evaluations.update(parts=[], tags_object="")
    drop_when_committed(vault, names)


def _drop_samples(file: StoredFile) -> None:
    """What models wrote to its prompts while they were trained."""
    samples = StepSample.objects.filter(of_file(file.id, "job__"))
    names = list(samples.values_list("object_name", flat=True))
    vault = open_vault()
    samples.delete()
    drop_when_committed(vault, names)


def _drop_name(file: StoredFile) -> None:
    """Of the upload that brought it, and in the passports of what was trained on it; the signed
    ones, in the bundles, are in the vault."""
    Upload.objects.filter(file=file).update(filename="")
    for artifact in Artifact.objects.filter(of_file(file.id, "job__")):
        for dataset in artifact.passport.get("datasets", []):
            if dataset.get("name") == file.filename:
                dataset["name"] = file.public_id
        artifact.save(update_fields=["passport"])
