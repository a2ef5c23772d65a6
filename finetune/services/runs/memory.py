"""The memory of a run: what suits its machine when it is first claimed, and less of it once when
that was not enough."""

from pathlib import Path
from typing import Any

from django.conf import settings

from faults import OurFault
from finetune.events import Message, TriedWithLess
from finetune.families.contract import AdapterSpec
from finetune.families.footprint import footprint
from finetune.models import Dataset, Job
from finetune.sandbox.groups import free_memory
from finetune.sandbox.room import tree_memory_mb
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.steps import step
from finetune.services.runs.lease import RunLease
from finetune.states import JobState
from finetune.trainer import room
from finetune.trainer.room import Fit, Wish
from finetune.trainer.spec import RunSpec
from finetune.work import leases

PROCESS_BYTES = 512 << 20  # Python and torch themselves
ROW_BYTES, TOKEN_BYTES = 400, 5  # of the rows, which stand in memory encoded


def choose(
    job: Job, machine: dict[str, Any], *, gpu_free: int | None
) -> tuple[dict[str, Any], list[Message]]:
    """(the RunSpec's two settings of memory, why) on a machine that was probed."""
    longest = longest_row(job)
    on_cpu = machine["device"] == "cpu"
    print_ = footprint(
        _base_dir(job),
        AdapterSpec.model_validate((job.resolved or {})["spec"]["adapter"]),
        precision=machine["precision"],
        longest=longest,
        on_cpu=on_cpu,
        lanes=machine.get("lanes", 1),
    )
    beside = PROCESS_BYTES + _rows_bytes(job) if on_cpu else 0

    def need(tokens: int, checkpointing: bool) -> int:
        return beside + print_.need(tokens, checkpointing=checkpointing)

    free = min(free_memory(), tree_memory_mb() << 20) if gpu_free is None else gpu_free
    chosen, said = room.fit(
        need, free=free, longest=longest, wish=_wish(job), device=machine["device"]
    )
    return _settings(chosen), said


def longest_row(job: Job) -> int:
    """In tokens. A reading of an older version tells the longest sequence before cutting alone."""
    found = [_longest(data, job) for data in (job.training_data, job.validation_data) if data]
    return max([1, *found])


def relieve(lease: RunLease, spec: RunSpec, *, exit_code: int) -> None:
    """After a training's memory was not enough: on with less, once, then failed. What was asked for
    and not left to us stays."""
    with leases.fenced(lease) as job:
        wish, longest = _wish(job), longest_row(job)
    now = Fit(spec.in_memory.gradient_checkpointing, spec.in_memory.micro_batch_tokens)
    least = None if spec.relief else room.less(now, longest=longest, wish=wish)
    if least is None:
        leases.fail(lease, fault=_exhausted(now, longest), exit_code=exit_code)
        return
    changed = _settings(least)

    def change(job: Job) -> None:
        resolved = (job.resolved or {}) | {"relief": changed}
        step(job, JobState.QUEUED, TriedWithLess(**changed), resolved=resolved)

    leases.restart(lease, change, exit_code=exit_code)


def _exhausted(fit: Fit, longest: int) -> OurFault:
    """Names what a request can still change."""
    options = ["choose a smaller base or a smaller `adapter.r`"]
    param = "model"
    if longest > room.LEAST_TOKENS:
        options.insert(0, f"lower `max_length` (the longest row has {longest} tokens)")
        param = "max_length"
    if len(room.halvings(fit.micro_batch_tokens, longest)) > 1:
        options.insert(0, f"lower `micro_batch_tokens` (it was {fit.micro_batch_tokens})")
        param = "micro_batch_tokens"
    if not fit.gradient_checkpointing:
        options.insert(0, "set `gradient_checkpointing` to true")
        param = "gradient_checkpointing"
    first, *rest = options
    fix = first[0].upper() + first[1:] + "".join(f", or {each}" for each in rest) + "."
    held = "with" if fit.gradient_checkpointing else "without"
    return OurFault(
        "out_of_memory",
        f"The training needs more memory than its machine has: {held} gradient checkpointing, and "
        f"micro-batches of {fit.micro_batch_tokens} tokens.",
        param=param,
        fix=fix,
    )


def _wish(job: Job) -> Wish:
    """Jobs of older versions left it to us."""
    request = JobRequest.model_validate(job.requested)
    return Wish(request.gradient_checkpointing, request.micro_batch_tokens)


def _settings(fit: Fit) -> dict[str, Any]:
    return {
        "gradient_checkpointing": fit.gradient_checkpointing,
        "micro_batch_tokens": fit.micro_batch_tokens,
    }


def _longest(data: Dataset, job: Job) -> int:
    report = data.report or {}
    if (told := report.get("longest_row")) is not None:
        return int(told)
    limit = int((job.resolved or {})["spec"]["max_length"])
    return min(limit, int(report.get("length_percentiles", {}).get("p100", limit)))


def _rows_bytes(job: Job) -> int:
    both = [data for data in (job.training_data, job.validation_data) if data is not None]
    tokens = sum(int((data.report or {}).get("tokens_total") or 0) for data in both)
    rows = sum(int(data.rows) for data in both)
    return TOKEN_BYTES * tokens + ROW_BYTES * rows


def _base_dir(job: Job) -> Path:
    return Path(settings.MODEL_STORE) / job.base.path
