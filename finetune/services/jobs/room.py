"""What a job may write, asked of the tenant's storage before the job is made."""

from finetune.models import CatalogModel, Dataset
from finetune.services.files.room import require_room_for_job
from finetune.services.jobs.base_files import files_of
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.samples import ALTOGETHER
from finetune.states import DatasetState
from finetune.trainer import auto
from finetune.trainer.adapter_size import adapter_bytes, checkpoint_bytes
from tenants.models import StoredFile

KEPT_BESIDES = 3  # checkpoints besides those at an epoch's end: the newest two, and one on its way
DOCUMENTS = 1 << 20  # bytes of a bundle or checkpoint that are no weights: metrics, card, passport


def require_room_of(*, request: JobRequest, base: CatalogModel, training: StoredFile) -> int:
    """The bytes that the job may write at most; its tenant has room for them. In the open scope.

    Raises StorageUsedUp with the numbers, and BaseMissing when this server cannot see the base.
    """
    with files_of(base) as folder:
        adapter = adapter_bytes(folder, request.adapter_spec())
    validated = request.validation_file is not None or request.validation_split is not None
    best = 1 if validated else 0
    part = 1 if request.learning_curve else 0  # stands beside the last checkpoint
    return require_room_for_job(
        checkpoints=_epochs(request, base, training) + KEPT_BESIDES + best + part,
        checkpoint=checkpoint_bytes(adapter, watched=request.stability != "off") + DOCUMENTS,
        model=2 * adapter + DOCUMENTS,  # the bundle, and the adapter that serving loads
        samples=ALTOGETHER if request.method == "reinforcement" else 0,
    )


def _epochs(request: JobRequest, base: CatalogModel, training: StoredFile) -> int:
    """As they will be resolved: by the rows of the file's newest reading."""
    readings = Dataset.objects.filter(file=training, state=DatasetState.READY)
    reading = readings.order_by("-created_at").first()
    values, _ = auto.resolve(
        rows=max(1, reading.rows if reading else 1),
        tokens=reading.tokens_trained if reading else 0,
        base_parameters=base.parameters,
        requested=auto.Requested(**request.hyperparameters.model_dump()),
    )
    return values.n_epochs
