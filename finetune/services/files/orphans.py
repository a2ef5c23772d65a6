"""Objects that no row names: what killed processes left in a tenant's vault. Listing a whole store
takes long, so this is done once a day and not at every sweep."""

import logging
from uuid import UUID

from finetune.models import (
    Artifact,
    Checkpoint,
    Dataset,
    Evaluation,
    Form,
    Mining,
    Profile,
    Scrub,
    StepSample,
)
from finetune.states import LIVE_LEASES
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile, Tenant, UploadPart
from tenants.services.vaults import object_store
from tenants.vault.stores.contract import DAY

log = logging.getLogger(__name__)


def remove_orphans(*, older_than_s: float = DAY) -> int:
    """Deletes the objects of our tenants that are as old and that no row names; returns how many.

    Their age spares what is being written: its row comes last. What lies in the store under no
    tenant of ours is not ours to touch.
    """
    old: dict[UUID, list[str]] = {}
    for key in object_store().list(older_than_s=older_than_s):
        tenant_id = _tenant_of(key)
        if tenant_id is not None:
            old.setdefault(tenant_id, []).append(key)
    return sum(_remove(tenant_id, keys) for tenant_id, keys in old.items())


def _tenant_of(key: str) -> UUID | None:
    first, _, rest = key.partition("/")
    try:
        return UUID(first) if rest else None
    except ValueError:
        return None


def _remove(tenant_id: UUID, keys: list[str]) -> int:
    with tenant_scope(tenant_id):
        if not Tenant.objects.filter(id=tenant_id).exists():
            return 0
        named = {f"{tenant_id}/{name}" for name in _named()}
    orphans = [key for key in keys if key not in named]
    for key in orphans:
        object_store().delete(key)
    if orphans:
        log.warning("tenant %s: %d objects that no row named were deleted", tenant_id, len(orphans))
    return len(orphans)


def _named() -> set[str]:
    """Every object that a row of the open scope's tenant names."""
    names = set(StoredFile.objects.filter(deleted_at=None).values_list("object_name", flat=True))
    names |= set(UploadPart.objects.values_list("object_name", flat=True))
    for three in Dataset.objects.values_list("rows_object", "tokens_object", "errors_object"):
        names |= set(three)
    for pair in Artifact.objects.filter(deleted_at=None).values_list(
        "bundle_object", "adapter_object"
    ):
        names |= set(pair)
    for evaluation in Evaluation.objects.only("parts", "tags_object"):
        names |= set(evaluation.objects_named)
    for profile in Profile.objects.only("findings_object", "tags_object"):
        names |= set(profile.objects_named)
    names |= set(Scrub.objects.values_list("findings_object", flat=True))
    for mining in Mining.objects.filter(state__in=LIVE_LEASES).only("parts"):
        names |= set(mining.objects_named)
    names |= set(Form.objects.values_list("object_name", flat=True))
    for prefix, files in Checkpoint.objects.values_list("prefix", "files"):
        names |= {prefix + name for name in files}
    return names | set(StepSample.objects.values_list("object_name", flat=True))
