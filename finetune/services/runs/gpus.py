"""Whether this worker, or any that lives, has the GPU that a run began on: asked before a claim, so
that no training is laid out only to find none."""

from datetime import timedelta
from uuid import UUID

from django.utils import timezone

from finetune.events import waits
from finetune.events.waits import Wait
from finetune.models import Job, Machine
from finetune.services.runs.pace import note_machine
from finetune.work import devices
from tenants.database.scope import tenant_scope

LIVES = timedelta(minutes=3)  # since its worker last told of a machine
TELL_SECONDS = 60.0


def tell() -> None:
    """Notes this machine's GPU, if it has one, as there."""
    here = devices.gpu()
    if here.device == "cuda":
        precision = "bf16" if here.bf16 else "fp32"
        note_machine({"device": "cuda", "precision": precision}, gpu_free=here.free)


def lack_of(tenant_id: UUID, job_id: UUID) -> Wait | None:
    """A run that has not begun takes what there is. All workers that lack the same say the same, as
    a reason is told whenever it changes."""
    with tenant_scope(tenant_id):
        resolved = Job.objects.values_list("resolved", flat=True).get(id=job_id) or {}
    machine = resolved.get("machine") or {}
    if machine.get("device") != "cuda":
        return None
    here, in_bf16 = devices.gpu(), machine["precision"] == "bf16"
    if here.device == "cuda" and (here.bf16 or not in_bf16):
        return None
    living = Machine.objects.filter(device="cuda", seen_at__gte=timezone.now() - LIVES)
    if (living.filter(bf16=True) if in_bf16 else living).exists():
        return waits.GpuElsewhere()
    return waits.NoBf16() if here.device == "cuda" or living.exists() else waits.NoGpu()
