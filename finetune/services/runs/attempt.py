"""One attempt at a job, from the claim to its end: prepare a folder, train, take over, publish."""

import json
import logging
import signal
import time
from dataclasses import dataclass
from pathlib import Path

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from faults import Fault, OurFault, UserFault
from finetune.events.waits import DiskFull, NoBf16, NoGpu
from finetune.models import Job
from finetune.sandbox.groups import ended_for_memory
from finetune.sandbox.left import require_plain
from finetune.sandbox.start import Child
from finetune.services.runs import grading, memory, preparation, publishing
from finetune.services.runs.history import History
from finetune.services.runs.judging import Judging
from finetune.services.runs.lease import RunLease
from finetune.services.runs.samples import Sampler
from finetune.services.runs.tail import EventTail
from finetune.states import ENDED_FOR, ExitCode
from finetune.trainer import exhaustion
from finetune.work import leases
from finetune.work.isolation import isolation
from finetune.work.launcher import launch_trainer
from finetune.work.perform import failed, shutdown
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Wishes
from finetune.workspace import private_folder
from tenants.database.scope import tenant_scope
from tenants.services.vaults import vault_for
from tenants.vault.errors import StorageDown, StorageFull
from tenants.vault.vault import Vault

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between two looks at the training process
RETRY_SECONDS = 1.0
YIELD_SECONDS = 120  # to reach the end of a step and write a checkpoint; then it is killed
CANCEL_SECONDS = 5
STORAGE_PATIENCE_SECONDS = 300  # a training goes on without storing checkpoints for so long
# What the training process found missing on this worker, and another may have.
LACKED: dict[str, type[DiskFull | NoGpu | NoBf16]] = {
    kind.code: kind for kind in (DiskFull, NoGpu, NoBf16)
}


def work(lease: RunLease, pulse: "Pulse[Wishes]") -> None:
    """Ends the lease, or raises what work/perform.py makes a step of."""
    with private_folder(settings.WORK_DIR, f"{lease.run_id}-{lease.epoch}") as run_dir:
        _work(lease, run_dir, pulse)


def _work(lease: RunLease, run_dir: Path, pulse: "Pulse[Wishes]") -> None:
    with tenant_scope(lease.tenant_id):
        vault = vault_for(lease.tenant_id)
        job = Job.objects.select_related("base", "training_data", "validation_data", "parent").get(
            id=lease.job_id
        )
    spec = preparation.prepare(lease, job, vault, run_dir)
    if shutdown.asked or pulse.seen.pause or pulse.seen.cancel:
        leases.give_back(lease)  # asked while the folder was filled: nothing need be started
        return
    with tenant_scope(lease.tenant_id):
        judging = Judging.of(vault, spec, tenant_id=lease.tenant_id, job_id=lease.job_id)
    history = History(lease, vault, Sampler.of(spec))
    taking = Taking(EventTail.of_what_comes(run_dir / "events.jsonl"), history, run_dir)
    ended_before = ended_for_memory()
    with grading.kept(run_dir, spec, isolation(), judging) as graders:
        training = launch_trainer(run_dir, threads=spec.threads or 1, level=isolation())
        log.info("run %s epoch %s: trainer %s", lease.run_id, lease.epoch, training.process.pid)
        try:
            code = _supervise(training, taking, pulse, graders)
        finally:
            training.kill()
    require_plain(run_dir)
    by_kernel = code == -signal.SIGKILL and ended_for_memory() > ended_before
    if by_kernel or ran_out_of_memory(run_dir, code):
        log.warning("run %s epoch %s: out of memory, exit %s", lease.run_id, lease.epoch, code)
        memory.relieve(lease, spec, exit_code=code)
    else:
        _conclude(lease, code, run_dir, vault, pulse)


def ran_out_of_memory(run_dir: Path, code: int) -> bool:
    """As the process says, or its keeper, or what it printed last when it could say nothing."""
    if code in (ExitCode.DONE, ExitCode.DATA, ExitCode.FULL, ExitCode.YIELDED):
        return False
    if code == ExitCode.MEMORY:
        return True
    try:
        told = json.loads((run_dir / "error.json").read_bytes())
    except (FileNotFoundError, ValueError):
        return exhaustion.said_so(run_dir / "trainer.log")
    return bool(told.get("code") == "out_of_memory")


def _supervise(
    training: Child, taking: "Taking", pulse: "Pulse[Wishes]", graders: grading.Keeper | None
) -> int:
    """Takes over events until the process has ended; returns its exit code. Raises LeaseLost, and
    OurFault where its grader is not to be had."""
    while True:
        code = training.poll()  # before reading: what it said last is then read, too
        taken = taking.take()
        if code is not None and taken:
            return code
        if pulse.lost:
            raise LeaseLost
        if graders is not None:
            graders.require()
        if pulse.seen.cancel:
            training.stop(CANCEL_SECONDS)
        elif pulse.seen.pause or shutdown.asked:
            training.ask_to_yield()
            if training.asked_for_longer_than(YIELD_SECONDS):
                training.kill()
        time.sleep(LOOK_SECONDS)


@dataclass
class Taking:
    """Moves events from the run folder into the history; the training goes on while it cannot."""

    tail: EventTail
    history: History
    run_dir: Path
    failing_since: float | None = None
    try_again_at: float = 0.0

    def take(self) -> bool:
        """Whether all that was said is written. Raises StorageDown or StorageFull when that has
        lasted too long; a database that is away too long costs the lease."""
        if time.monotonic() < self.try_again_at:
            return False
        try:
            events = self.tail.read()
            if events:
                self.history.take(events, self.run_dir)
                self.tail.keep()
        except DatabaseError as error:
            connection.close()
            log.warning("events wait for the database: %s", error)
            self.try_again_at = time.monotonic() + RETRY_SECONDS
            return False
        except (StorageDown, StorageFull) as error:
            self.failing_since = self.failing_since or time.monotonic()
            if time.monotonic() - self.failing_since > STORAGE_PATIENCE_SECONDS:
                raise
            log.warning("a checkpoint waits for the storage: %s", error)
            self.try_again_at = time.monotonic() + RETRY_SECONDS
            return False
        self.failing_since = None
        return True


def _conclude(
    lease: RunLease, code: int, run_dir: Path, vault: Vault, pulse: "Pulse[Wishes]"
) -> None:
    log.info("run %s epoch %s: trainer exit %s", lease.run_id, lease.epoch, code)
    if code == ExitCode.DONE:
        publishing.publish(lease, run_dir, vault, pulse)
    elif code == ExitCode.YIELDED:
        leases.give_back(lease, exit_code=code)
    elif code == ExitCode.DATA:
        leases.fail(lease, fault=_told(lease, run_dir, code), exit_code=code)
    else:
        fault = _told(lease, run_dir, code)
        if lacking := LACKED.get(fault.code):
            leases.wait(lease, reason=lacking(), seconds=lease.kind.wait_seconds)
        else:
            failed(lease, fault, exit_code=code)


def _told(lease: RunLease, run_dir: Path, code: int) -> Fault:
    """The process's error.json, or what its exit code says when it could write none."""
    try:
        told = json.loads((run_dir / "error.json").read_bytes())
    except (FileNotFoundError, ValueError):
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        how = ENDED_FOR.get(code, how)
        return lease.kind.fault("trainer_died", f"The training process {how}.")
    family = UserFault if code == ExitCode.DATA else OurFault
    return family(**{name: told.get(name) for name in ("code", "message", "param", "where", "fix")})
