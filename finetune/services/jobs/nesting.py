"""The parts of a job's training rows that its learning curve is trained on: drawn anew by whoever
needs them, and always the same."""

from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from django.conf import settings

from faults import OurFault, UserFault
from finetune.models import Dataset, Job
from finetune.records.frozen import Frozen
from finetune.records.nesting import FEWEST_PARTS, Nested, nest, sizes_of
from finetune.records.splitting import clusters_of, split_of
from finetune.services.jobs.request import JobRequest
from finetune.storage import fetch_file
from finetune.workspace import private_folder
from tenants.vault.vault import Vault


@dataclass(frozen=True)
class Parts:
    """`rows` of each part, ascending; `trained_tokens` of all of them together, in an epoch.
    `sha256`: of the drawn numbers; None: they are not drawn yet, and all rows are taken as alike.
    """

    rows: tuple[int, ...]
    trained_tokens: int
    fewest: int
    sha256: str | None = None

    def as_dict(self, *, epochs: int) -> dict[str, Any]:
        """As `resolved.learning_curve` of a job, its tokens over all epochs."""
        told = asdict(self) | {"trained_tokens": epochs * self.trained_tokens}
        return told | {"rows": list(self.rows)}


Draw = Callable[[int], Parts]
"""The parts, none of fewer rows than so many."""


def guessed(rows: int, trained_tokens: int) -> Draw:
    """Before the parts are drawn: of a file of so many rows, as if all were alike."""

    def draw(fewest: int) -> Parts:
        sizes = sizes_of(rows, fewest)
        return Parts(sizes, round(trained_tokens * sum(sizes) / max(1, rows)), fewest)

    return draw


def drawn(job: Job, data: Dataset, vault: Vault) -> Draw:
    """What is drawn raises UserFault `split_impossible`, ObjectLost, StorageDown."""

    def draw(fewest: int) -> Parts:
        nested = nested_of(job, data, vault, fewest=fewest)
        tokens = 0
        if nested.sizes and data.tokens_object:
            trained = _trained_by_row(data, vault)
            tokens = sum(int(trained[part].sum()) for part in nested.parts)
        elif nested.sizes:  # read by an older version: nobody knows which row has how many
            tokens = round(data.tokens_trained * sum(nested.sizes) / data.rows)
        return Parts(nested.sizes, tokens, fewest, nested.sha256)

    return draw


def nested_of(job: Job, data: Dataset, vault: Vault, *, fewest: int) -> Nested:
    with vault.open(data.rows_object) as rows:
        clusters = clusters_of(rows)
    share = JobRequest.model_validate(job.requested).validation_split
    apart = () if share is None else split_of(clusters, share=share, seed=job.seed).held_out
    return nest(clusters, but=apart, seed=job.seed, fewest=fewest)


def write_parts(job: Job, data: Dataset, vault: Vault, path: Path, *, sha256: str | None) -> None:
    """For the trainer. Raises OurFault `data_changed` where they are others than the job was made
    ready with."""
    fewest = int((job.resolved or {})["learning_curve"]["fewest"])
    found = nested_of(job, data, vault, fewest=fewest)
    if sha256 not in (None, found.sha256):
        raise OurFault("data_changed", "The parts of the training file are not what they were.")
    path.write_text(found.written(), encoding="utf-8")


def require_parts(parts: Parts) -> None:
    """Raises UserFault `curve_impossible` where there are too few to tell a curve by."""
    if len(parts.rows) < FEWEST_PARTS:
        raise UserFault(
            "curve_impossible",
            f"Of these rows {len(parts.rows)} smaller trainings of at least {parts.fewest} rows "
            f"can be made, and a learning curve needs {FEWEST_PARTS}: a half, a quarter and an "
            "eighth of the rows.",
            fix="Bring more rows, lower `batch_size`, or leave `learning_curve` out.",
            param="learning_curve",
        )


def _trained_by_row(data: Dataset, vault: Vault) -> Any:
    with private_folder(settings.WORK_DIR, f"check-{data.id}") as folder:
        path = folder / "rows.tokens"
        fetch_file(vault, data.tokens_object, path, sha256=data.tokens_sha256)
        return Frozen(path).trained_by_record()
