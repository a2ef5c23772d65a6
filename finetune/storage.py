"""Names of what is made, in the tenant's vault, and files moved in and out of it.

`objects/<uuid>`, `datasets/<id>/<reading>/`, `runs/<run>/<epoch>/checkpoints/<step>/`,
`runs/<run>/<epoch>/samples/<step>.jsonl`, `artifacts/<id>/`, `evaluations/<id>/`,
`profiles/<id>/`, `minings/<id>/`, `forms/<id>/<epoch>/`, `jobs/<id>/judgements/<digest>.json`.
Names hold our own ids only, never a customer's file name.
"""

import hashlib
from pathlib import Path
from uuid import UUID, uuid5

from finetune.sandbox.left import opened
from tenants.vault.errors import ObjectDamaged
from tenants.vault.vault import ObjectInfo, Vault

BLOCK = 1 << 20


def file_object(file_id: UUID) -> str:
    return f"objects/{file_id}"


def dataset_prefix(dataset_id: UUID, reading: str) -> str:
    """`reading` names one attempt at the check, so that two attempts never share a name."""
    return f"datasets/{dataset_id}/{reading}/"


def evaluation_prefix(evaluation_id: UUID) -> str:
    return f"evaluations/{evaluation_id}/"


def profile_prefix(profile_id: UUID) -> str:
    """Of a profile or a scrub."""
    return f"profiles/{profile_id}/"


def mining_prefix(mining_id: UUID) -> str:
    return f"minings/{mining_id}/"


def form_prefix(form_id: UUID) -> str:
    return f"forms/{form_id}/"


def form_object(form_id: UUID, epoch: int) -> str:
    return f"{form_prefix(form_id)}{epoch}/form.tar"


def run_prefix(run_id: UUID) -> str:
    return f"runs/{run_id}/"


def checkpoint_prefix(run_id: UUID, epoch: int, step: int) -> str:
    return f"{run_prefix(run_id)}{epoch}/checkpoints/{step}/"


def sample_object(run_id: UUID, epoch: int, step: int) -> str:
    return f"{run_prefix(run_id)}{epoch}/samples/{step}.jsonl"


def judgements_prefix(job_id: UUID) -> str:
    """Of the job's attempts together: none may get other rewards than the one before."""
    return f"jobs/{job_id}/judgements/"


def judgements_object(job_id: UUID, digest: str) -> str:
    return f"{judgements_prefix(job_id)}{digest}.json"


def attempt_artifact(run_id: UUID, epoch: int) -> UUID:
    """One per attempt, and known without a row: what a killed publisher stored can be found."""
    return uuid5(run_id, str(epoch))


def artifact_prefix(artifact_id: UUID) -> str:
    return f"artifacts/{artifact_id}/"


def store_file(vault: Vault, name: str, path: Path) -> ObjectInfo:
    """Encrypts the file into the vault. Raises StorageFull, StorageDown, and OurFault
    `unclean_folder` for what is no plain file."""
    with opened(path) as source, vault.put(name) as sink:
        while block := source.read(BLOCK):
            sink.write(block)
    return sink.info


def fetch_file(vault: Vault, name: str, path: Path, *, sha256: str | None = None) -> None:
    """Decrypts the object into `path` (0600). Raises ObjectMissing, ObjectDamaged, StorageDown.

    The whole is only trusted once its end was read and its hash is the expected one.
    """
    digest = hashlib.sha256()
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    with vault.open(name) as source, path.open("xb") as sink:
        path.chmod(0o600)
        while block := source.read(BLOCK):
            digest.update(block)
            sink.write(block)
    if sha256 and digest.hexdigest() != sha256:
        path.unlink()
        raise ObjectDamaged(name, "its SHA-256 is not the recorded one")


def delete_prefix(vault: Vault, prefix: str, *, keep: frozenset[str] = frozenset()) -> int:
    """Deletes every object under `prefix` that is not in `keep`; returns how many."""
    doomed = [name for name in vault.list(prefix) if name not in keep]
    for name in doomed:
        vault.delete(name)
    return len(doomed)
