"""What a tenant takes away: its bundles and adapters, from its vault, if its licence allows it.

The only place that opens weights for anybody, and each of its doors asks for the right itself:
`export` for what leaves, `serve` for what goes into the serving process. Metrics and reports of
problems say how training went and hold no weights; they are files like the customer's own and need
no right of a licence. Checkpoints are not given out at all.
"""

from typing import Any, BinaryIO
from uuid import UUID

from django.db import transaction
from django.db.models import Q
from django.utils import timezone

from finetune.models import Artifact, Checkpoint, Form, Job, Pipeline, Run, StepSample
from finetune.services.models.eviction import evict
from finetune.services.models.withholding import is_withheld, require_given_out
from finetune.signing import public_key_pem
from finetune.states import FINAL_JOB_STATES, LIVE_LEASES
from finetune.storage import artifact_prefix, attempt_artifact, delete_prefix, run_prefix
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.errors import Conflict, NotFound, Refused
from tenants.rights import Right
from tenants.roles import Scope
from tenants.services import audit
from tenants.services.licences import require_license
from tenants.services.vaults import drop_when_committed, open_vault

__all__ = [
    "delete_model",
    "load_adapter",
    "may_export",
    "open_bundle",
    "public_key_pem",
]


def open_bundle(*, artifact: Artifact, by: Principal, at: int = 0) -> BinaryIO:
    """The signed .tar from byte `at` on, as a stream that outlives the open scope; the tenant's log
    says who took it.

    Raises Refused without the scope to take weights away or the right to export, and for a model
    that is withheld; ObjectMissing, ObjectDamaged, StorageDown.
    """
    by.require_of(Scope.ARTIFACTS_READ, artifact)
    require_license(model=artifact.base.name, right=Right.EXPORT)
    require_given_out(artifact)
    stream = open_vault().open(artifact.bundle_object, at=at)
    audit.record(
        actor=by.actor,
        action="artifact.download",
        target=artifact.model_name,
        data={"artifact": artifact.public_id, "sha256": artifact.bundle_sha256},
    )
    return stream


def may_export(*, artifact: Artifact) -> bool:
    """Whether the bundle may still leave: asked again while it does, in a scope of its own."""
    with tenant_scope(artifact.tenant_id):
        try:
            require_license(model=artifact.base.name, right=Right.EXPORT)
        except Refused:
            return False
        kept = Artifact.objects.filter(id=artifact.id, deleted_at=None).exists()
        return kept and not is_withheld(artifact)


def load_adapter(
    *, artifact: Artifact, by: Principal, withheld_too: bool = False
) -> tuple[bytes, dict[str, Any]]:
    """(safetensors, adapter_config.json) for the serving process. `withheld_too`: to evaluate it.

    Raises Refused without the scope to ask models or the right to serve, and for a model that is
    withheld; ObjectMissing, ObjectDamaged, StorageDown.
    """
    by.require_of(Scope.INFER, artifact)
    require_license(model=artifact.base.name, right=Right.SERVE)
    if not withheld_too:
        require_given_out(artifact)
    return open_vault().read_bytes(artifact.adapter_object), dict(artifact.adapter_config)


def delete_model(*, name: str, actor: str) -> UUID:
    """Destroys a fine-tuned model's weights: adapter, bundle, forms, checkpoints, what attempts
    that were cut off had stored, what serving has in memory, and samples of what it wrote while it
    was trained. Its job's history and metrics file stay.

    Returns the artifact's id. Raises NotFound, also when it is deleted already, and Conflict while
    a job goes on from it.
    """
    artifact = Artifact.objects.select_for_update().filter(model_name=name, deleted_at=None).first()
    if artifact is None:
        raise NotFound(
            "model_not_found",
            f"The model `{name}` does not exist or you do not have access to it.",
            param="model",
        )
    _require_not_gone_on_from(artifact)
    attempts = list(Run.objects.filter(job=artifact.job).values_list("id", "epoch"))
    Checkpoint.objects.filter(job=artifact.job).delete()
    StepSample.objects.filter(job=artifact.job).delete()
    forms = Form.objects.filter(artifact=artifact)
    gone = [name for name in forms.values_list("object_name", flat=True) if name]
    forms.delete()
    artifact.deleted_at = timezone.now()
    artifact.save(update_fields=["deleted_at"])
    audit.record(
        actor=actor,
        action="model.delete",
        target=name,
        data={"artifact": artifact.public_id, "digest": artifact.digest},
    )
    vault = open_vault()
    drop_when_committed(vault, gone)

    def destroy() -> None:
        vault.delete(artifact.bundle_object)
        vault.delete(artifact.adapter_object)
        for run_id, epochs in attempts:
            delete_prefix(vault, run_prefix(run_id))
            for epoch in range(1, epochs + 1):  # of attempts that were cut off
                if (cut_off := attempt_artifact(run_id, epoch)) != artifact.id:
                    delete_prefix(vault, artifact_prefix(cut_off))

    def forget() -> None:
        evict(tenant_id=artifact.tenant_id, adapter_sha256=artifact.adapter_sha256)

    transaction.on_commit(destroy)
    transaction.on_commit(forget)
    return artifact.id


def _require_not_gone_on_from(artifact: Artifact) -> None:
    """Raises Conflict while a job or pipeline needs the model's weights to go on from."""
    job = Job.objects.filter(parent=artifact).exclude(state__in=FINAL_JOB_STATES).first()
    needs = Q(parent=artifact) | Q(stages__job=artifact.job)
    live = Pipeline.objects.filter(needs, state__in=LIVE_LEASES).first()
    if (found := job or live) is not None:
        raise Conflict(
            "model_in_use",
            f"{found.public_id} goes on from this model.",
            fix="Wait until that has ended, or cancel it, then delete the model.",
        )
