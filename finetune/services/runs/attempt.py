"""One attempt at a job, from the claim to its end: prepare a folder, train, take over, publish."""

import json
import logging
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import UUID

from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connection

from faults import Fault
from faults.disk import DiskFull, is_full
from finetune.models import Job
from finetune.sandbox.levels import SandboxMissing
from finetune.sandbox.start import Child
from finetune.services.runs import leases, preparation, publishing
from finetune.services.runs.history import History
from finetune.services.runs.leases import Lease, Wishes
from finetune.services.runs.tail import EventTail
from finetune.states import ENDED_FOR, ExitCode
from finetune.work import fitness
from finetune.work.fitness import DISK_FULL
from finetune.work.isolation import isolation
from finetune.work.launcher import launch_trainer
from finetune.work.leases import LeaseLost
from finetune.work.pulse import Pulse
from finetune.work.waiting import reason_of
from finetune.workspace import private_folder
from tenants.database.scope import tenant_scope
from tenants.services.vaults import object_store, vault_for
from tenants.vault.errors import KeyDestroyed, KeyUnavailable, StorageDown, StorageFull, VaultError
from tenants.vault.vault import Vault

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.2  # between two looks at the training process
RETRY_SECONDS = 1.0
YIELD_SECONDS = 120  # to reach the end of a step and write a checkpoint; then it is killed
CANCEL_SECONDS = 5
STORAGE_PATIENCE_SECONDS = 300  # a training goes on without storing checkpoints for so long
WAIT_SECONDS = 60  # before storage or disk are tried again


@dataclass
class Shutdown:
    """Set when this worker is told to stop. A plain flag: a signal handler may not take locks."""

    asked: bool = False


shutdown = Shutdown()


def perform(*, tenant_id: UUID, job_id: UUID) -> None:
    """Claims the job's run if one is due, and works on it until it ends or somebody wants it back.

    Returns when there is nothing (more) to do; what became of the run stands in its row.
    """
    if shutdown.asked or not _is_due(tenant_id, job_id):
        return
    if missing := fitness.lack() or fitness.lack_for(tenant_id, job_id):
        leases.postpone(tenant_id=tenant_id, job_id=job_id, reason=missing, seconds=0)
        return
    if missing := _missing_outside():
        leases.postpone(tenant_id=tenant_id, job_id=job_id, reason=missing, seconds=WAIT_SECONDS)
        return
    worker = f"{socket.gethostname()}:{os.getpid()}"
    lease = leases.claim(tenant_id=tenant_id, job_id=job_id, worker=worker, isolation=isolation())
    if lease is None:
        return
    log.info("run %s epoch %s: claimed", lease.run_id, lease.epoch)
    try:
        with Pulse(lambda: leases.beat(lease), lambda: leases.wishes(lease), Wishes()) as pulse:
            _attempt(lease, pulse)
    except LeaseLost:
        log.warning("run %s epoch %s: the lease is lost", lease.run_id, lease.epoch)


def _attempt(lease: Lease, pulse: "Pulse[Wishes]") -> None:
    """Whatever goes wrong becomes the run's next state; only a lost lease leaves by exception."""
    try:
        with private_folder(settings.WORK_DIR, f"{lease.run_id}-{lease.epoch}") as run_dir:
            _work(lease, run_dir, pulse)
    except (StorageFull, StorageDown, KeyUnavailable, SandboxMissing) as error:
        leases.wait(lease, reason=reason_of(error), seconds=WAIT_SECONDS)
    except DiskFull:
        leases.wait(lease, reason=DISK_FULL, seconds=WAIT_SECONDS)
    except KeyDestroyed as error:
        leases.fail(lease, error=_ours(error.code, error.message))
    except Fault as error:
        log.warning("run %s epoch %s: %s", lease.run_id, lease.epoch, error)
        _failed(lease, leases.as_error(error), None)
    except DatabaseError:
        # The database itself failed: nothing can be written now. The lease runs out and the
        # reaper takes the run back.
        log.exception("run %s epoch %s: the database failed", lease.run_id, lease.epoch)
        connection.close()
    except OSError as error:
        _disk(lease, error)
    except LeaseLost:
        raise
    except Exception as error:
        log.exception("run %s epoch %s: a fault of ours", lease.run_id, lease.epoch)
        fault = _ours("internal_error", f"The worker failed ({type(error).__name__}).")
        _failed(lease, fault, None)


def _work(lease: Lease, run_dir: Path, pulse: "Pulse[Wishes]") -> None:
    with tenant_scope(lease.tenant_id):
        vault = vault_for(lease.tenant_id)
        job = Job.objects.select_related("base", "training_data", "validation_data").get(
            id=lease.job_id
        )
    spec = preparation.prepare(lease, job, vault, run_dir)
    if shutdown.asked or pulse.seen.pause or pulse.seen.cancel:
        leases.give_back(lease)  # asked while the folder was filled: nothing need be started
        return
    taking = Taking(EventTail(run_dir / "events.jsonl"), History(lease, vault), run_dir)
    training = launch_trainer(run_dir, threads=spec.threads or 1, level=isolation())
    log.info("run %s epoch %s: trainer %s", lease.run_id, lease.epoch, training.process.pid)
    try:
        code = _supervise(training, taking, pulse)
    finally:
        training.kill()
    _conclude(lease, code, run_dir, vault, pulse)


def _supervise(training: Child, taking: "Taking", pulse: "Pulse[Wishes]") -> int:
    """Takes over events until the process has ended; returns its exit code. Raises LeaseLost."""
    while True:
        code = training.poll()  # before reading: what it said last is then read, too
        taken = taking.take()
        if code is not None and taken:
            return code
        if pulse.lost:
            raise LeaseLost
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


def _conclude(lease: Lease, code: int, run_dir: Path, vault: Vault, pulse: "Pulse[Wishes]") -> None:
    log.info("run %s epoch %s: trainer exit %s", lease.run_id, lease.epoch, code)
    if code == ExitCode.DONE:
        publishing.publish(lease, run_dir, vault, pulse)
    elif code == ExitCode.YIELDED:
        leases.give_back(lease, exit_code=code)
    elif code == ExitCode.DATA:
        leases.fail(lease, error=told(run_dir, code), exit_code=code)
    else:
        error = told(run_dir, code)
        if error["code"] == "disk_full":
            leases.wait(lease, reason=DISK_FULL, seconds=WAIT_SECONDS)
        else:
            _failed(lease, error, code)


def _failed(lease: Lease, error: dict[str, Any], code: int | None) -> None:
    """A base that was damaged meanwhile is not the job's fault: then the run waits."""
    if lacking := fitness.lack_for(lease.tenant_id, lease.job_id):
        leases.wait(lease, reason=lacking, seconds=WAIT_SECONDS)
    else:
        leases.attempt_failed(lease, error=error, exit_code=code)


def told(run_dir: Path, code: int) -> dict[str, Any]:
    """The process's error.json, or what its exit code says when it could write none."""
    try:
        told = json.loads((run_dir / "error.json").read_bytes())
    except (FileNotFoundError, ValueError):
        how = f"was killed by signal {-code}" if code < 0 else f"ended with exit code {code}"
        how = ENDED_FOR.get(code, how)
        return _ours("trainer_died", f"The training process {how}.")
    return {name: told.get(name) for name in ("code", "message", "param", "where", "fix")}


def _ours(code: str, message: str) -> dict[str, Any]:
    fix = "Create the job again; if it fails again, tell the operator the job's id."
    return {"code": code, "message": message, "param": None, "where": None, "fix": fix}


def _disk(lease: Lease, error: OSError) -> None:
    if is_full(error):
        leases.wait(lease, reason=DISK_FULL, seconds=WAIT_SECONDS)
    else:
        log.exception("run %s epoch %s: the worker's disk failed", lease.run_id, lease.epoch)
        fault = _ours("worker_disk", f"The worker's disk failed ({error.strerror}).")
        leases.attempt_failed(lease, error=fault, exit_code=None)


def _is_due(tenant_id: UUID, job_id: UUID) -> bool:
    with tenant_scope(tenant_id):
        return leases.due(job_id)


def _missing_outside() -> str:
    """What no worker could do without; empty if nothing."""
    try:
        object_store().health()
    except VaultError as error:
        return reason_of(error)
    return ""
