"""The files of what a job goes on from, out of the tenant's vault into a run's folder."""

from pathlib import Path

from faults import OurFault
from finetune.models import Checkpoint, Job
from finetune.storage import fetch_file
from finetune.trainer.spec import ADAPTER, OPTIMIZER, StartSpec
from tenants.database.scope import tenant_scope
from tenants.vault.errors import ObjectLost
from tenants.vault.vault import Vault


def fetch_start(job: Job, start: StartSpec, vault: Vault, folder: Path) -> None:
    """Raises OurFault `start_missing`, StorageDown."""
    try:
        for name, (place, sha256) in _files(job, start).items():
            fetch_file(vault, place, folder / name, sha256=sha256)
    except ObjectLost as error:
        raise _missing() from error


def _files(job: Job, start: StartSpec) -> dict[str, tuple[str, str]]:
    """Name -> (object, SHA-256)."""
    parent, step = job.parent, (job.start or {})["step"]
    assert parent is not None  # `start` is written with it
    if step is None:
        return {ADAPTER: (parent.adapter_object, start.adapter_sha256)}
    with tenant_scope(parent.tenant_id):
        checkpoint = Checkpoint.objects.filter(job=parent.job_id, step=step).first()
    if checkpoint is None:
        raise _missing()
    wanted = {ADAPTER: start.adapter_sha256, OPTIMIZER: start.optimizer_sha256}
    return {
        name: (checkpoint.prefix + name, sha256)
        for name, sha256 in wanted.items()
        if sha256 is not None
    }


def _missing() -> OurFault:
    return OurFault(
        "start_missing",
        "The weights that training was to go on from are gone.",
        fix="Go on from another model or checkpoint; tell the operator.",
    )
