"""Whether any machine that is known to train can hold a job at all."""

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

from django.conf import settings
from django.utils import timezone

from faults import UserFault
from finetune.families.contract import AdapterSpec, Device
from finetune.families.footprint import footprint
from finetune.models import Job, Machine
from finetune.services.jobs.needs import longest_row
from finetune.services.jobs.request import JobRequest
from finetune.trainer.room import LEAST_TOKENS

KNOWN_FOR = timedelta(days=30)
SURE = 1 / 2  # of the formula's share for activations, which is right within a factor of 2
SHORTEST = 64  # tokens that are still named as a length that would fit


@dataclass(frozen=True)
class Size:
    """What decides the memory, of a job's settings."""

    longest: int  # tokens
    r: int


def require_fit(job: Job) -> None:
    """Of a resolved job. Raises UserFault `job_too_large`, with what would fit, where it needs more
    than the whole memory of every machine of the last month, in the way that takes least."""
    machines = list(Machine.objects.filter(seen_at__gte=timezone.now() - KNOWN_FOR))
    size = Size(longest_row(job), (job.resolved or {})["spec"]["adapter"]["r"])
    if not machines or any(_holds(job, each, size) for each in machines):
        return
    largest = max(machines, key=lambda each: each.memory_mb)
    need = _surely(job, largest, size) >> 20
    options = [_words(size, each) for each in _smaller(job, machines, size)]
    raise UserFault(
        "job_too_large",
        f"The training needs at least {need} MB of memory, and the largest machine known has "
        f"{largest.memory_mb} MB.",
        fix=", or ".join(options) + "." if options else "Choose a smaller base model.",
        param="max_length" if options else "model",
    )


def _holds(job: Job, machine: Machine, size: Size) -> bool:
    return _surely(job, machine, size) <= machine.memory_mb << 20


def _surely(job: Job, machine: Machine, size: Size) -> int:
    """Bytes, in the narrowest precision and the least of all ways that the request leaves open."""
    asked = JobRequest.model_validate(job.requested)
    adapter = AdapterSpec.model_validate((job.resolved or {})["spec"]["adapter"] | {"r": size.r})
    device: Device = "cpu" if machine.device == "cpu" else "cuda"
    print_ = footprint(
        Path(settings.MODEL_STORE) / job.base.path,
        adapter,
        precision="bf16",
        longest=size.longest,
        on_cpu=device == "cpu",
    )
    at_once = LEAST_TOKENS if asked.micro_batch_tokens == "auto" else asked.micro_batch_tokens
    tokens = max(size.longest, min(at_once, LEAST_TOKENS))
    checkpointing = asked.gradient_checkpointing is not False
    sure = print_.weights + (4 + print_.lanes) * print_.adapter
    return round(sure + SURE * (print_.need(tokens, checkpointing=checkpointing) - sure))


def _smaller(job: Job, machines: list[Machine], size: Size) -> Iterator[Size]:
    """One for each setting that makes it fit by itself."""
    for ways in (
        [Size(size.longest >> by, size.r) for by in range(1, 16) if size.longest >> by >= SHORTEST],
        [Size(size.longest, size.r >> by) for by in range(1, 10) if size.r >> by],
    ):
        fitting = (way for way in ways if any(_holds(job, each, way) for each in machines))
        if (found := next(fitting, None)) is not None:
            yield found


def _words(size: Size, smaller: Size) -> str:
    if smaller.longest != size.longest:
        return f"`max_length` {smaller.longest} would fit"
    return f"`adapter.r` {smaller.r} would fit"
