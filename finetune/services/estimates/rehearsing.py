"""The kind of work that measures what nobody measured yet: a few steps of the job, on its own data,
by the training process itself; nothing of them is kept but figures."""

import json
import logging
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings

from faults import OurFault, UserFault
from finetune import selectors
from finetune.events.waits import Wait
from finetune.models import Dataset, Estimate, Job
from finetune.sandbox.left import require_plain
from finetune.sandbox.start import Child
from finetune.services.estimates.asking import job_of, readings_of
from finetune.services.estimates.figures import resolved
from finetune.services.files.checking import CHECK, why_waiting
from finetune.services.jobs.fit import require_fit
from finetune.services.jobs.judges import judges_asked, stage_of
from finetune.services.jobs.validation import is_done
from finetune.services.runs import attempt, grading, pace, preparation
from finetune.services.runs.grading import Keeper
from finetune.services.runs.judging import Judging
from finetune.services.runs.pace import Measured
from finetune.states import DatasetState, ExitCode
from finetune.trainer.spec import RunSpec
from finetune.work import fitness, leases
from finetune.work.isolation import isolation
from finetune.work.kinds import Lease, OperationKind
from finetune.work.launcher import launch_rehearsal
from finetune.work.perform import failed, perform, shutdown
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.workspace import private_folder
from tenants.database.scope import tenant_scope
from tenants.rights import Right
from tenants.services.licences import require_license
from tenants.services.vaults import vault_for
from tenants.vault.vault import Vault

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2
REHEARSAL = "rehearsal.json"  # of finetune/trainer/rehearsal.py, whose import takes torch
MOST_SECONDS = 600.0  # of a try: meanwhile nobody is trained on this machine
WANTED_SECONDS = 5.0  # until it is looked again whether anybody still asks
READ_SECONDS = 5  # until files that others read are looked at again


class Rehearsing(OperationKind):
    model = Estimate

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        _rehearse(lease, pulse)

    def lack(self, *, tenant_id: UUID, key: UUID) -> Wait | None:
        return fitness.lack()

    def on_claim(self, subject: Estimate, lease: Lease) -> None:
        """The licence is asked again here, as a training's is."""
        require_license(model=job_of(subject).base.name, right=Right.TRAIN)


REHEARSE = Rehearsing()


def _rehearse(lease: Lease, pulse: "Pulse[Wishes]") -> None:
    job = _read(lease)
    if job is None:
        return
    with tenant_scope(lease.tenant_id):
        unneeded = not _is_wanted(job) or pace.known(resolved(job)) is not None
        if not unneeded:
            require_fit(job)
    if unneeded:
        _finish(lease)
        return
    if lacking := fitness.lack_of(job.base):
        leases.wait(lease, reason=lacking, seconds=lease.kind.wait_seconds)
        return
    with private_folder(settings.WORK_DIR, f"{lease.row_id}-{lease.epoch}") as folder:
        _measure(lease, job, folder, pulse)


def _read(lease: Lease) -> Job | None:
    """The job with its files read; None: it waits for them, or has ended by one that is no good."""
    for data in _looked_up(lease)[1]:
        perform(CHECK, tenant_id=lease.tenant_id, key=data.id)
    job, readings = _looked_up(lease)
    for data in readings:
        if not is_done(data):
            leases.wait(lease, reason=why_waiting(data), seconds=READ_SECONDS)
            return None
        if data.state == DatasetState.REFUSED:
            _finish(lease)  # what is wrong with the file stands in its reading
            return None
    return job


def _looked_up(lease: Lease) -> tuple[Job, list[Dataset]]:
    with tenant_scope(lease.tenant_id):
        job = job_of(Estimate.objects.get(id=lease.row_id))
        return job, readings_of(job)


def _is_wanted(job: Job) -> bool:
    """Whether it can still be of use: a held job may have been started or cancelled."""
    if job._state.adding:  # of a wish: no row is of it
        return True
    return selectors.is_held(job)


def _is_still_wanted(lease: Lease) -> bool:
    with tenant_scope(lease.tenant_id):
        return _is_wanted(job_of(Estimate.objects.get(id=lease.row_id), lock=False))


def _measure(lease: Lease, job: Job, folder: Path, pulse: "Pulse[Wishes]") -> None:
    with tenant_scope(lease.tenant_id):
        vault = vault_for(lease.tenant_id)
    machine, _ = preparation.choose_machine(job, folder)
    began = time.monotonic()
    spec = RunSpec.model_validate((job.resolved or {})["spec"] | machine)
    tell = partial(log.warning, "estimate %s: %s", lease.row_id)
    preparation.lay_out(job, spec, vault, folder, tell=tell)
    with _graders(lease, spec, vault, folder) as graders:
        child = launch_rehearsal(folder, threads=spec.threads or 1, level=isolation())
        try:
            code = _supervise(child, pulse, partial(_is_still_wanted, lease), graders)
        finally:
            child.kill()
    require_plain(folder)
    if code is None:
        _finish(lease)
        return
    if code != ExitCode.DONE:
        failed(lease, _why(folder, code))
        return
    told = json.loads((folder / REHEARSAL).read_bytes())
    start = time.monotonic() - began - told["seconds"]
    with leases.fenced(lease):
        pace.learn(job, machine, _measured(told, start))
        leases.finish(lease)


def _graders(
    lease: Lease, spec: RunSpec, vault: Vault, folder: Path
) -> AbstractContextManager[Keeper | None]:
    """As beside a training; nobody grades where a stage of its pipeline is still to make a judge.
    Raises NotFound, Refused and UserFault for a judge that may not be asked."""
    if any(stage_of(each) is not None for each in judges_asked(spec.grader)):
        return nullcontext()
    with tenant_scope(lease.tenant_id):
        judging = Judging.of(vault, spec, tenant_id=lease.tenant_id, job_id=None)
    return grading.kept(folder, spec, isolation(), judging)


def _supervise(
    child: Child,
    pulse: "Pulse[Wishes]",
    is_wanted: Callable[[], bool],
    graders: Keeper | None,
) -> int | None:
    """The exit code; None where it is of no use any more. Raises UserFault where it takes too
    long, and Fault where its graders cannot be asked."""
    began = looked = time.monotonic()
    while (code := child.poll()) is None:
        if pulse.lost:
            raise LeaseLost
        if graders is not None:
            graders.require()
        if shutdown.asked or pulse.seen.cancel:
            raise Stopped
        now = time.monotonic()
        if now - began > MOST_SECONDS:
            raise _too_slow()
        if now - looked > WANTED_SECONDS:
            if not is_wanted():
                return None
            looked = now
        time.sleep(LOOK_SECONDS)
    return code


def _too_slow() -> UserFault:
    return UserFault(
        "rehearsal_too_long",
        f"A few steps of the job take more than {MOST_SECONDS / 60:.0f} minutes on this machine.",
        fix="Lower `batch_size` or `max_length`, or start the job without an estimate of its time.",
    )


def _measured(told: dict[str, Any], start_seconds: float) -> Measured:
    """Of rehearsal.json."""
    valid, graded = told["valid_tokens"], told.get("grading_seconds")
    return Measured(
        token_seconds=told["step_seconds"] / max(1, told["step_tokens"]),
        peak_memory_mb=int(told["peak_memory_mb"]),
        valid_token_seconds=told["valid_seconds"] / valid if valid else None,
        save_seconds=told["save_seconds"],
        start_seconds=start_seconds,
        answer_seconds=graded / told["graded"] if graded is not None else None,
    )


def _why(folder: Path, code: int) -> OurFault:
    if attempt.ran_out_of_memory(folder, code):
        return OurFault(
            "out_of_memory",
            "A few steps of the job need more memory than the machine has free.",
            fix="Lower `max_length`, `micro_batch_tokens` or `adapter.r`, or try again later.",
        )
    return OurFault("rehearsal_failed", f"The try of a few steps ended with exit code {code}.")


def _finish(lease: Lease) -> None:
    with leases.fenced(lease):
        leases.finish(lease)
