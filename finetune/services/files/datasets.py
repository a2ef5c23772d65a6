"""Readings of a tenant's files: one frozen row per file and settings, asked for here."""

import hashlib
import json
from collections.abc import Iterable
from typing import Any, BinaryIO
from uuid import UUID

from django.db import IntegrityError, transaction

from finetune.models import CatalogModel, Dataset
from finetune.records.check.columns import Columns
from finetune.states import LIVE_DATASET_STATES, DatasetState
from finetune.work import nudges
from tenants.access import Principal
from tenants.models import StoredFile
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.vaults import open_vault
from tenants.vault.errors import ObjectLost
from tenants.vault.vault import Vault


def request_check(
    *,
    file: StoredFile,
    base: CatalogModel | None = None,
    max_length: int | None = None,
    overflow: str = "refuse",
) -> Dataset:
    """The one reading of `file` with these settings; a worker is nudged unless it is done.

    Without `base` only the structure is checked, and the file's status follows from it.
    """
    dataset = reading_of(file=file, base=base, max_length=max_length, overflow=overflow)
    if dataset.state in LIVE_DATASET_STATES:
        nudges.wake(Dataset, dataset.tenant_id, dataset.id)
    return dataset


def reading_of(
    *,
    file: StoredFile,
    base: CatalogModel | None,
    max_length: int | None,
    overflow: str,
    thinking: str = "each",
) -> Dataset:
    """Gets or makes the row. One that ended by a fault of ours is set to be tried again.

    For a model the fields are called as the file's mapping of columns says at this moment.
    """
    key: dict[str, Any] = {
        "file": file,
        "base": base,
        "max_length": max_length,
        "overflow": overflow,
        "thinking": thinking,
    }
    columns = columns_of(file)
    if base is not None:
        key["columns_key"] = columns_key(columns)
    try:
        with transaction.atomic():
            dataset, _ = Dataset.objects.get_or_create(**key, defaults={"columns": columns})
    except IntegrityError:  # two at once: the other one made it
        dataset = Dataset.objects.get(**key)
    ours = Dataset.objects.filter(id=dataset.id, state=DatasetState.REFUSED, error__family="ours")
    if ours.update(state=DatasetState.PENDING, error=None, attempts=0, wait_reason=""):
        dataset.refresh_from_db()
    return dataset


def columns_of(file: StoredFile) -> dict[str, str]:
    """The file's mapping of columns: that of its structure's reading."""
    structure = Dataset.objects.filter(file=file, base=None).first()
    return structure.columns if structure is not None else {}


def columns_key(columns: Columns) -> str:
    """Tells readings by different mappings apart; empty without one."""
    if not columns:
        return ""
    return hashlib.sha256(json.dumps(dict(columns), sort_keys=True).encode()).hexdigest()


def open_errors(dataset: Dataset, *, by: Principal) -> BinaryIO | None:
    """Every listed problem as JSON lines, as a stream that outlives the open scope; None: there is
    no list. They quote the tenant's own rows, so that no licence is asked; its log says who took
    them.

    Raises Refused without the scope to read files; ObjectLost, StorageDown.
    """
    by.require_of(Scope.FILES_READ, dataset)
    if not dataset.errors_object:
        return None
    stream = open_vault().open(dataset.errors_object)
    audit.note(actor=by.actor, action="report.download", **_named(dataset))
    return stream


def full_report(dataset: Dataset, *, by: Principal) -> dict[str, Any] | None:
    """The report with its problems, which are read from the vault; without them once the file is
    deleted. The log says who saw it.

    Where the list of problems is gone or was changed, `problems_lost` says so, and the figures are
    shown all the same. Raises Refused without the scope to read files;
    StorageDown, KeyDestroyed.
    """
    by.require_of(Scope.FILES_READ, dataset)
    if dataset.report is None:
        return None
    report = _with_problems(dataset, open_vault() if dataset.errors_object else None)
    audit.note(actor=by.actor, action="report.read", **_named(dataset))
    return report


def full_reports(shown: Iterable[Dataset], *, by: Principal) -> dict[UUID, dict[str, Any] | None]:
    """As `full_report` for each reading of a list, by id; one entry speaks of the whole list."""
    listed = list(shown)
    for each in listed:
        by.require_of(Scope.FILES_READ, each)
    vault = open_vault() if any(each.errors_object for each in listed) else None
    reports = {
        each.id: None if each.report is None else _with_problems(each, vault) for each in listed
    }
    if any(reports.values()):
        audit.note(actor=by.actor, action="report.list")
    return reports


def _with_problems(dataset: Dataset, vault: Vault | None) -> dict[str, Any]:
    assert dataset.report is not None  # whoever calls has looked
    problems: list[Any] = []
    lost: dict[str, Any] | None = None
    if vault is not None and dataset.errors_object:
        try:
            with vault.open(dataset.errors_object) as lines:
                problems = [json.loads(line) for line in lines]
        except ObjectLost as error:
            # One list that is lost must not hide the other readings of a page.
            lost = {"code": error.code, "message": error.message, "fix": error.fix}
    figures: dict[str, Any] = dataset.report
    told = {
        "source_name": dataset.file.filename,
        "columns": dataset.columns,
        "problems": problems,
    }
    return figures | told | ({"problems_lost": lost} if lost else {})


def _named(dataset: Dataset) -> dict[str, Any]:
    """How entries name it: by its file, so that one file's readings make one entry."""
    return {"target": dataset.file.public_id, "data": {"dataset": dataset.public_id}}
