"""From a finished training to the one committed result: packed and signed, stored, published.

The bundle is built in a process of its own; one fenced transaction then writes the artifact, the
result file, the charge and the job's end, all or nothing.
"""

import json
import re
import uuid
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from django.conf import settings

from faults import OurFault
from finetune.events import JobSucceeded
from finetune.models import Artifact, CatalogModel, Checkpoint, Dataset, Job, Run, StepSample
from finetune.packaging.passport import (
    Ancestor,
    BaseUsed,
    DatasetUsed,
    Evaluation,
    Passport,
    Receipt,
    SplitUsed,
    hub_place,
)
from finetune.packaging.request import BuildRequest, BuiltBundle
from finetune.purposes import Purpose
from finetune.sandbox.levels import Level
from finetune.services.jobs.steps import step
from finetune.services.models.withholding import require_given_out
from finetune.services.runs.ancestors import ancestors_of
from finetune.services.runs.lease import RunLease
from finetune.services.runs.outturn import settle, tokens_taken
from finetune.services.runs.packing import pack
from finetune.states import JobState
from finetune.storage import (
    artifact_prefix,
    attempt_artifact,
    delete_prefix,
    run_prefix,
    store_file,
)
from finetune.trainer.spec import RunSpec
from finetune.work import leases
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Wishes
from tenants.database.scope import tenant_scope
from tenants.models import Tenant
from tenants.services import audit, files
from tenants.services.licences import charge, terms_of
from tenants.states import FileStatus
from tenants.vault.errors import VaultError
from tenants.vault.vault import Vault

ACTOR = "system:worker"
AWKWARD = re.compile(r"[^A-Za-z0-9._-]+")  # in the name of a model, which stands in addresses


def publish(lease: RunLease, run_dir: Path, vault: Vault, pulse: "Pulse[Wishes]") -> None:
    """Raises LeaseLost, Fault, StorageFull, StorageDown; then nothing is published."""
    with tenant_scope(lease.tenant_id):
        job = Job.objects.select_related(
            "base", "license", "training_data__file", "validation_data__file"
        ).get(id=lease.job_id)
        lineage = ancestors_of(job)
        tenant = Tenant.objects.get(id=lease.tenant_id)
    report = json.loads((run_dir / "result" / "report.json").read_bytes()) | _held_out(job)
    spec = RunSpec.read(run_dir)
    request = BuildRequest(
        adapter_dir=run_dir / "result",
        base_dir=settings.MODEL_STORE / job.base.path,
        passport=_passport(job, tenant, spec, report, lineage),
        license_terms=_terms(job, tenant),
    )
    built = _package(run_dir, request, spec.threads or 1, pulse)
    artifact_id = attempt_artifact(lease.run_id, lease.epoch)
    prefix = artifact_prefix(artifact_id)
    stored = {
        name: store_file(vault, prefix + name, path)
        for name, path in (
            ("bundle.tar", run_dir / "bundle.tar"),
            ("adapter_model.safetensors", run_dir / "result" / "adapter_model.safetensors"),
            ("metrics.csv", run_dir / "result" / "metrics.csv"),
        )
    }
    if stored["bundle.tar"].sha256 != built.sha256:
        raise OurFault("bundle_changed", "The bundle changed between packing and storing.")
    metrics, adapter = stored["metrics.csv"], stored["adapter_model.safetensors"]
    kept = files.Kept(prefix + "metrics.csv", metrics.plaintext_bytes, metrics.sha256)
    config = json.loads((run_dir / "result" / "adapter_config.json").read_bytes())
    try:
        _commit(lease, artifact_id, built, kept, adapter.plaintext_bytes, config, report)
    finally:
        _drop_unless_published(lease, artifact_id, vault)
    _tidy(lease, vault, keep=artifact_id)


def _commit(
    lease: RunLease,
    artifact_id: uuid.UUID,
    built: BuiltBundle,
    kept: files.Kept,
    adapter_bytes: int,
    adapter_config: dict[str, Any],
    report: dict[str, Any],
) -> None:
    prefix = artifact_prefix(artifact_id)
    with leases.fenced(lease) as job:
        if job.cancel_requested_at is not None:
            leases.grant_wishes(lease, job)
            return
        if job.parent is not None:  # withheld meanwhile: its weights are in these
            require_given_out(job.parent)
        name = model_name(job, Tenant.objects.get(id=lease.tenant_id))
        metrics_file = files.create_file(
            filename=f"step_metrics_{job.public_id}.csv",
            purpose=Purpose.RESULTS,
            kept=kept,
            status=FileStatus.PROCESSED,
            life=None,
            actor=ACTOR,
        )
        artifact = Artifact.objects.create(
            id=artifact_id,
            job=job,
            base=job.base,
            model_name=name,
            digest=built.bundle.digest,
            adapter_sha256=built.bundle.adapter_sha256,
            bundle_object=prefix + "bundle.tar",
            bundle_bytes=built.bytes,
            bundle_sha256=built.sha256,
            adapter_object=prefix + "adapter_model.safetensors",
            adapter_bytes=adapter_bytes,
            adapter_config=adapter_config,
            passport=built.bundle.passport.model_dump(mode="json"),
            metrics_file=metrics_file,
            report=report,
        )
        tokens = tokens_taken(report)
        charge(licence=job.license, kind="train", tokens=tokens, reference=job.public_id)
        step(
            job,
            JobState.SUCCEEDED,
            JobSucceeded(model=name, artifact=artifact.public_id, digest=artifact.digest),
            trained_tokens=tokens,
            receipt=settle(job, report),
            pause_requested_at=None,
        )
        leases.finish(lease)
        audit.record(
            actor=ACTOR,
            action="artifact.publish",
            target=artifact.public_id,
            data={"job": job.public_id, "model": name, "digest": artifact.digest},
        )


def model_name(job: Job, tenant: Tenant) -> str:
    """As OpenAI's, with so much of the suffix as an address and a file's name bear."""
    return f"ft:{job.base.name}:{tenant.slug}:{_shortened(job.suffix)}:{job.id.hex[:8]}"


def _shortened(suffix: str) -> str:
    return AWKWARD.sub("-", suffix).strip("-._")


def _package(
    run_dir: Path, request: BuildRequest, threads: int, pulse: "Pulse[Wishes]"
) -> BuiltBundle:
    def look() -> None:
        if pulse.lost:
            raise LeaseLost

    return BuiltBundle.model_validate_json(pack(run_dir, request, threads=threads, look=look))


def _isolation(job: Job) -> Any:
    """The weakest that any of the job's attempts ran with; None for attempts that did not say."""
    with tenant_scope(job.tenant_id):
        had = set(Run.objects.filter(job=job, epoch__gt=0).values_list("isolation", flat=True))
    weakest_first = ("", Level.NONE, Level.NAMESPACES, Level.BUBBLEWRAP)
    found = next((level for level in weakest_first if level in had), "")
    return str(found) or None


def _passport(
    job: Job, tenant: Tenant, spec: RunSpec, report: dict[str, Any], lineage: list[Ancestor]
) -> Passport:
    return Passport(
        name=model_name(job, tenant),
        tenant=tenant.name,
        created=datetime.now(UTC),
        code_version=version("privatune"),
        base=base_used(job.base),
        datasets=[
            dataset_used(role, data, weight)
            for role, data, weight in _datasets(job)
            if data is not None
        ],
        split=_split(job),
        family=spec.family,
        method=spec.objective,
        hyperparameters=_hyperparameters(job, spec, report),
        seed=spec.seed,
        precision=spec.precision,
        isolation=_isolation(job),
        printed_day=report.get("printed_day"),
        deterministic=report.get("deterministic"),
        nondeterministic=report.get("nondeterministic", []),
        rollbacks=report.get("rollbacks"),
        skipped_rows=report.get("skipped_rows", []),
        rate_factor=report.get("rate_factor"),
        steps=report["steps"],
        epochs=report["epochs"],
        seconds=report["seconds"],
        receipt=_receipt(job, report),
        evaluation=Evaluation(
            train_loss=report["train_loss"],
            validation_loss=report["valid_loss"],
            base_validation_loss=report.get("base_valid_loss"),
            start_validation_loss=report.get("start_valid_loss"),
            validation_rows=report.get("valid_rows"),
            validation_rows_in_training=report.get("valid_rows_in_training"),
            validation_change=report.get("validation_change"),
            preferences=report.get("preferences"),
            learning_curve=report.get("learning_curve"),
            metrics=_found(report.get("retrieval")),
        ),
        parents=[lineage[-1].model] if lineage else [],
        lineage=lineage,
    )


def _found(retrieval: dict[str, Any] | None) -> dict[str, float]:
    """Of queries held out, how much the base and the result find."""
    measures = (retrieval or {}).get("measures", {})
    tuned = {name: float(each["tuned"]) for name, each in measures.items()}
    return tuned | {f"{name} of the base": float(each["base"]) for name, each in measures.items()}


def _receipt(job: Job, report: dict[str, Any]) -> Receipt:
    """The summary of what stands in the job's receipt when it has ended."""
    names = ("trained_tokens", "steps", "training_seconds", "peak_memory_mb")
    wanted = (job.receipt or {}).get("expected")
    return Receipt(
        trained_tokens=tokens_taken(report),
        steps=report["steps"],
        training_seconds=report["seconds"],
        peak_memory_mb=report["peak_memory_mb"],
        expected={name: wanted.get(name) for name in names} if wanted else None,
    )


def base_used(base: CatalogModel) -> BaseUsed:
    return BaseUsed(
        name=base.name,
        digest=base.digest,
        licence=base.licence,
        architecture=base.architecture,
        parameters=base.parameters,
        **hub_place(base.source),
    )


def dataset_used(role: Any, data: Dataset, weight: float | None = None) -> DatasetUsed:
    report = data.report or {}
    return DatasetUsed(
        role=role,
        name=data.file.filename,
        sha256=data.file.sha256,
        rows_sha256=data.rows_sha256,
        columns=data.columns or None,
        rows=data.rows,
        tokens=report.get("tokens_total"),
        trained_tokens=data.tokens_trained,
        weight=weight,
    )


def _datasets(job: Job) -> list[tuple[str, Dataset | None, float | None]]:
    """(role, reading, weight where there are several to train)"""
    with tenant_scope(job.tenant_id):
        further = job.further
    weight = float(job.requested.get("weight", 1.0))
    several = bool(further) or weight != 1
    return [
        ("train", job.training_data, weight if several else None),
        *(("train", each.data, each.weight) for each in further),
        ("validation", job.validation_data, None),
    ]


def _split(job: Job) -> SplitUsed | None:
    found = (job.resolved or {}).get("split")
    if found is None:
        return None
    return SplitUsed(
        share=found["share"],
        seed=job.seed,
        training_rows=found["rows"],
        validation_rows=found["held_out"],
        clusters=found["clusters"],
        sha256=found["sha256"],
    )


def _held_out(job: Job) -> dict[str, int | None]:
    """What the validation loss was measured on, beside it: rows of which the model knows some by
    heart flatter it. None: a job that an older version made ready."""
    if (split := (job.resolved or {}).get("split")) is not None:
        return {"valid_rows": split["held_out"], "valid_rows_in_training": 0}
    if job.validation_data is None:
        return {}
    overlap = (job.resolved or {}).get("overlap")
    return {"valid_rows": job.validation_data.rows, "valid_rows_in_training": overlap}


def _hyperparameters(job: Job, spec: RunSpec, report: dict[str, Any]) -> dict[str, Any]:
    resolved = job.resolved or {}
    return dict(resolved.get("hyperparameters", {})) | {
        **spec.settings,  # of the objective's own
        **({"grader": spec.grader} if spec.grader else {}),
        "learning_rate": spec.optim.learning_rate,
        "max_length": spec.max_length,
        "packing": spec.packing,
        "gradient_checkpointing": spec.gradient_checkpointing,
        "micro_batch_tokens": spec.micro_batch_tokens,
        # Of a run whose memory was not enough: what it went on with, and after which step
        **({"relief": report["relief"]} if "relief" in report else {}),
        "keep": spec.keep,
        "stability": spec.stability,
        **spec.optim.model_dump(
            mode="json", include={"schedule", "warmup_ratio", "weight_decay", "max_grad_norm"}
        ),
        **_rarely_asked(spec),
        "adapter": spec.adapter.model_dump(mode="json"),
        **({"thinking": resolved["thinking"]} if "thinking" in resolved else {}),
    }


def _rarely_asked(spec: RunSpec) -> dict[str, Any]:
    """Named only where they are in use."""
    found = {
        "loraplus_lr_ratio": spec.optim.loraplus_lr_ratio,
        "neftune_noise_alpha": spec.neftune_noise_alpha,
    }
    return {name: value for name, value in found.items() if value not in (0.0, 1.0)}


def _terms(job: Job, tenant: Tenant) -> dict[str, Any]:
    return {
        "licence": job.base.licence,
        "model": job.base.name,
        "terms": job.base.terms,
        "holder": tenant.name,
        "granted": terms_of(job.license),
    }


def _drop_unless_published(lease: RunLease, artifact_id: uuid.UUID, vault: Vault) -> None:
    """The lease was lost or the job cancelled meanwhile: nobody will name these objects."""
    with tenant_scope(lease.tenant_id):
        published = Artifact.objects.filter(id=artifact_id).exists()
    if not published:
        delete_prefix(vault, artifact_prefix(artifact_id))


def _tidy(lease: RunLease, vault: Vault, *, keep: uuid.UUID) -> None:
    """Removes what attempts that were cut off had stored and nobody names. Best effort: these are
    ciphertext in the tenant's own vault."""
    with tenant_scope(lease.tenant_id):
        named = {
            prefix + name
            for prefix, stored in Checkpoint.objects.filter(job_id=lease.job_id).values_list(
                "prefix", "files"
            )
            for name in stored
        }
        samples = StepSample.objects.filter(job_id=lease.job_id)
        named |= set(samples.values_list("object_name", flat=True))
        attempts = list(Run.objects.filter(job_id=lease.job_id).values_list("id", "epoch"))
    try:
        for run_id, epochs in attempts:
            delete_prefix(vault, run_prefix(run_id), keep=frozenset(named))
            for epoch in range(1, epochs + 1):
                if (artifact_id := attempt_artifact(run_id, epoch)) != keep:
                    delete_prefix(vault, artifact_prefix(artifact_id))
    except VaultError:
        return
