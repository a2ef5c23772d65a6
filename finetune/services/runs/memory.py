"""The memory of a run: what suits its machine when it is first claimed, and less of it once when
that was not enough."""

from typing import Any

from faults import OurFault
from finetune.events import Message, TriedWithLess
from finetune.models import Job
from finetune.sandbox.groups import free_memory
from finetune.sandbox.room import tree_memory_mb
from finetune.services.jobs.needs import longest_row, need_of, tokens_of_step
from finetune.services.jobs.request import JobRequest
from finetune.services.jobs.steps import step
from finetune.services.runs.lease import RunLease
from finetune.states import JobState
from finetune.trainer import room
from finetune.trainer.room import Fit, Wish
from finetune.trainer.spec import RunSpec
from finetune.work import leases


def choose(
    job: Job, machine: dict[str, Any], *, gpu_free: int | None
) -> tuple[dict[str, Any], list[Message]]:
    """(the RunSpec's two settings of memory, why) on a machine that was probed."""
    longest, need = longest_row(job), need_of(job, machine)
    free = min(free_memory(), tree_memory_mb() << 20) if gpu_free is None else gpu_free
    chosen, said = room.fit(
        need,
        free=free,
        longest=longest,
        wish=_wish(job),
        device=machine["device"],
        of_step=tokens_of_step(job),
    )
    return _settings(chosen), said


def relieve(lease: RunLease, spec: RunSpec, *, exit_code: int) -> None:
    """After a training's memory was not enough: on with less, once, then failed. What was asked for
    and not left to us stays."""
    with leases.fenced(lease) as job:
        wish, longest = _wish(job), longest_row(job)
    now = Fit(spec.in_memory.gradient_checkpointing, spec.in_memory.micro_batch_tokens)
    least = None if spec.relief else room.less(now, longest=longest, wish=wish)
    if least is None:
        leases.fail(lease, fault=exhausted(now, longest), exit_code=exit_code)
        return
    changed = _settings(least)

    def change(job: Job) -> None:
        resolved = (job.resolved or {}) | {"relief": changed}
        step(job, JobState.QUEUED, TriedWithLess(**changed), resolved=resolved)

    leases.restart(lease, change, exit_code=exit_code)


def exhausted(fit: Fit, longest: int) -> OurFault:
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
