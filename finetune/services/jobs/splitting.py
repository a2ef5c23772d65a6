"""A part of a job's training file that is kept apart for validation: which rows, and what both
parts hold. It is made anew by whoever needs it, and is always the same."""

import json
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from django.conf import settings

from faults import OurFault
from finetune.models import Dataset, Job
from finetune.records.frozen import Frozen
from finetune.records.packs import count_packs
from finetune.records.splitting import Split, split
from finetune.services.jobs.request import JobRequest
from finetune.storage import fetch_file
from finetune.workspace import private_folder
from tenants.vault.vault import Vault


@dataclass(frozen=True)
class Parted:
    """Of the training part, and in `held_out` the rows kept apart. `packs`: of `max_length` tokens
    each; None: not counted. `clusters` and `sha256` of the split; None: it was not made yet, and
    the figures are a share of the whole file's."""

    share: float
    rows: int
    tokens: int
    trained_tokens: int
    packs: int | None
    held_out: int
    held_out_tokens: int
    clusters: int | None = None
    sha256: str | None = None

    def as_dict(self) -> dict[str, Any]:
        """As `resolved.split` of a job."""
        return asdict(self)


def is_validated(job: Job) -> bool:
    """Whether rows are kept from training, to be measured."""
    return job.validation_file_id is not None or bool(job.requested.get("validation_split"))


def split_of(job: Job, data: Dataset, vault: Vault) -> Split:
    """Raises UserFault `split_impossible`, ObjectLost, StorageDown."""
    share = JobRequest.model_validate(job.requested).validation_split
    assert share is not None  # asked for
    with vault.open(data.rows_object) as rows:
        return split(rows, share=share, seed=job.seed)


def part(job: Job, data: Dataset, vault: Vault, *, max_length: int) -> Parted:
    """What the split makes of the file; raises as `split_of`."""
    found = split_of(job, data, vault)
    made = replace(
        guessed(job, data),
        rows=found.rows - len(found.held_out),
        held_out=len(found.held_out),
        clusters=found.clusters,
        sha256=found.sha256,
    )
    if not data.tokens_object:  # read by an older version: nobody knows which row has how many
        return made
    with private_folder(settings.WORK_DIR, f"check-{data.id}") as folder:
        path = folder / "rows.tokens"
        fetch_file(vault, data.tokens_object, path, sha256=data.tokens_sha256)
        frozen = Frozen(path)
        lengths, trained = frozen.lengths(), frozen.trained_by_record()
    if len(lengths) != found.rows:
        raise OurFault("data_changed", "The stored rows are not those that were read.")
    kept, apart = found.kept, list(found.held_out)
    sizes: dict[int, int] = {}
    for length in lengths[kept].tolist():
        sizes[length] = sizes.get(length, 0) + 1
    return replace(
        made,
        tokens=int(lengths[kept].sum()),
        trained_tokens=int(trained[kept].sum()),
        packs=count_packs(sizes, max_length),
        held_out_tokens=int(lengths[apart].sum()),
    )


def guessed(job: Job, data: Dataset) -> Parted:
    """Before the split is made: both parts as if all rows were alike."""
    share = float(job.requested["validation_split"])
    apart = max(1, round(share * data.rows)) if data.rows > 1 else 0
    left = 1 - apart / max(1, data.rows)
    tokens = int((data.report or {}).get("tokens_total") or 0)
    return Parted(
        share=share,
        rows=max(1, data.rows - apart),
        tokens=round(left * tokens),
        trained_tokens=round(left * data.tokens_trained),
        packs=None,
        held_out=apart,
        held_out_tokens=tokens - round(left * tokens),
    )


def write_split(job: Job, data: Dataset, vault: Vault, path: Path, *, sha256: str | None) -> None:
    """The rows kept apart, for the trainer. Raises OurFault `data_changed` where they are others
    than the job was made ready with."""
    found = split_of(job, data, vault)
    if sha256 not in (None, found.sha256):
        raise OurFault("data_changed", "The split of the training file is not what it was.")
    path.write_text(json.dumps(found.held_out), encoding="utf-8")
