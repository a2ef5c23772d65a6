"""Rows that workers would have written, so that the API has something to show."""

import hashlib
import json
from pathlib import Path
from typing import Any
from uuid import UUID

from finetune import selectors
from finetune.models import Artifact, CatalogModel, Checkpoint, Job, Run, StepSample
from finetune.services.jobs.steps import take_over
from finetune.states import JobState, RunState
from tenants.database.scope import tenant_scope
from tenants.models import License
from tenants.services.files import create_file, keep
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer

HEADER = "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy\n"


def give_result(customer: Customer, job_id: str, adapter: Path | None = None) -> str:
    """Ends the job with an artifact (of a real adapter folder, if given); gives its model name."""
    weights = (adapter / "adapter_model.safetensors").read_bytes() if adapter else b"weights"
    config = json.loads((adapter / "adapter_config.json").read_bytes()) if adapter else {}
    with tenant_scope(customer.tenant_id):
        job = selectors.find(selectors.jobs(), job_id)
        vault = open_vault()
        prefix = f"artifacts/{job.id}/"
        vault.put_bytes(f"{prefix}adapter_model.safetensors", weights)
        bundle = vault.put_bytes(f"{prefix}bundle.tar", b"a tar")
        metrics = create_file(
            filename="metrics.csv",
            purpose="fine-tune-results",
            kept=keep(vault=vault, pieces=[f"{HEADER}1,2.0,0.5,,\n".encode()], limit=1 << 20),
            status="processed",
            life=None,
            actor="test",
        )
        artifact = Artifact.objects.create(
            job=job,
            base=job.base,
            model_name=f"ft:{job.base.name}:{customer.slug}::{job.id.hex[:8]}",
            digest=f"sha256:{'0' * 64}",
            adapter_sha256=hashlib.sha256(weights).hexdigest(),
            bundle_object=f"{prefix}bundle.tar",
            bundle_bytes=bundle.plaintext_bytes,
            bundle_sha256=bundle.sha256,
            adapter_object=f"{prefix}adapter_model.safetensors",
            adapter_config=config,
            passport={},
            metrics_file=metrics,
        )
        Job.objects.filter(id=job.id).update(
            state=JobState.SUCCEEDED,
            trained_tokens=1234,
            resolved={"hyperparameters": {"n_epochs": 3}, "reasons": {"n_epochs": "few rows"}},
        )
    return artifact.model_name


def give_event(customer: Customer, job_id: str, kind: str, data: dict[str, Any]) -> None:
    with tenant_scope(customer.tenant_id):
        job = selectors.find(selectors.jobs(), job_id)
        take_over(job, [{"type": kind, "message": "a step", "data": data}])


def give_checkpoint(customer: Customer, job_id: str, step: int) -> UUID:
    with tenant_scope(customer.tenant_id):
        job = selectors.find(selectors.jobs(), job_id)
        run = Run.objects.create(job=job, state=RunState.SUCCEEDED)
        checkpoint = Checkpoint.objects.create(
            job=job, run=run, epoch=1, step=step, prefix="x/", metrics={"train_loss": 0.5}
        )
    return checkpoint.id


def sample(text: str = "hi", **changes: Any) -> dict[str, Any]:
    """A completion as the worker keeps it."""
    return {
        "row": 1, "text": text, "reasoning": "", "tool_calls": [], "shortened": False, "tokens": 2,
        "truncated": False, "reward": 1.0, "scores": {}, "grader_errors": {}, "advantage": 0.5,
    } | changes  # fmt: skip


def running_job(customer: Customer, **changes: Any) -> Job:
    """On the shelf's model, with a file of its own, as a worker has it at work."""
    with tenant_scope(customer.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"rows"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        base, licence = CatalogModel.objects.get(name="shelf"), License.objects.get()
        made = {"base": base, "license": licence, "training_file": file} | changes
        return Job.objects.create(**made, state=JobState.RUNNING)


def give_samples(customer: Customer, job_id: str, step: int, *texts: str, **changes: Any) -> None:
    lines = [json.dumps(sample(text, **changes)).encode() + b"\n" for text in texts or ("hi",)]
    with tenant_scope(customer.tenant_id):
        job = selectors.find(selectors.jobs(), job_id)
        name = f"runs/{job.id}/1/samples/{step}.jsonl"
        info = open_vault().put_bytes(name, b"".join(lines))
        StepSample.objects.create(
            job=job, step=step, object_name=name, completions=len(lines), bytes=info.plaintext_bytes
        )
