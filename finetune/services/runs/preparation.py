"""Fills the private folder of an attempt: the spec, the base, the rows, the last checkpoint."""

import json
import logging
import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from django.conf import settings

from faults import OurFault
from finetune.events import CheckpointDamaged, Choice, Message, PrecisionChosen, TokensLost
from finetune.models import CatalogModel, Checkpoint, Dataset, Event, Job
from finetune.sandbox.levels import Level
from finetune.services.jobs.nesting import write_parts
from finetune.services.jobs.splitting import write_split
from finetune.services.jobs.steps import note
from finetune.services.runs import memory, pace
from finetune.services.runs.lease import RunLease
from finetune.services.runs.starting import fetch_start
from finetune.storage import fetch_file
from finetune.trainer.cores import available_cores, lanes_for
from finetune.trainer.objectives import OBJECTIVES
from finetune.trainer.spec import START, RunSpec, tokens_of
from finetune.work import leases
from finetune.work.isolation import isolation
from finetune.work.launcher import probe_machine
from tenants.database.scope import tenant_scope
from tenants.vault.errors import ObjectLost
from tenants.vault.vault import Vault

log = logging.getLogger(__name__)

STATE = "trainer_state.json"
Probed = tuple[dict[str, Any], PrecisionChosen, int | None]
# by base, threads, lanes and isolation
_tried: dict[tuple[str, int, int, Level], Probed] = {}


def prepare(lease: RunLease, job: Job, vault: Vault, run_dir: Path) -> RunSpec:
    """The spec that the trainer will find in `run_dir`, beside all that it names.

    Raises OurFault, ObjectMissing, ObjectDamaged, StorageDown, OSError, LeaseLost.
    """
    machine = _machine(lease, job, run_dir)
    resolved = job.resolved or {}
    spec = RunSpec.model_validate(resolved["spec"] | machine | {"relief": resolved.get("relief")})
    lay_out(job, spec, vault, run_dir, tell=partial(_tell, lease))
    _restore(lease, job, vault, run_dir, keeps_best=spec.keep == "best")
    _tell_again(lease, job, run_dir / "events.jsonl")
    return spec


def lay_out(
    job: Job, spec: RunSpec, vault: Vault, run_dir: Path, *, tell: Callable[[Message], None]
) -> None:
    """The spec and what it names: base, rows, and what training goes on from. Raises as
    `prepare`."""
    spec.write(run_dir)
    (run_dir / spec.base).symlink_to((settings.MODEL_STORE / job.base.path).resolve())
    data = spec.data
    with_rows = OBJECTIVES[spec.objective].records.with_rows
    fetch = partial(_fetch_rows, tell, vault, with_rows)
    fetch(job.training_data, run_dir / data.train, data.train_tokens_sha256)
    if data.further:
        with tenant_scope(job.tenant_id):
            further = job.further
        for each, named in zip(further, data.further, strict=True):
            fetch(each.data, run_dir / named.train, named.train_tokens_sha256)
    if data.held_out:
        assert job.training_data is not None  # `fetch` had it
        apart = run_dir / data.held_out
        write_split(job, job.training_data, vault, apart, sha256=data.held_out_sha256)
    if spec.curve is not None:
        assert job.training_data is not None
        parts = run_dir / spec.curve.parts
        write_parts(job, job.training_data, vault, parts, sha256=spec.curve.sha256)
    if data.valid:
        fetch(job.validation_data, run_dir / data.valid, data.valid_tokens_sha256)
    if spec.start is not None:
        fetch_start(job, spec.start, vault, run_dir / START)


def _tell(lease: RunLease, message: Message) -> None:
    with leases.fenced(lease) as locked:
        note(locked, message)


def _machine(lease: RunLease, job: Job, run_dir: Path) -> dict[str, Any]:
    """Precision, device, threads, lanes and what stands in memory at once: chosen where the
    training first runs, and never again.

    Another choice would change the result's bits, so an attempt on another machine keeps it.
    """
    chosen = (job.resolved or {}).get("machine")
    if chosen:
        return dict(chosen)
    machine, said = choose_machine(job, run_dir)
    reasons = {each.setting: each.reason for each in said if isinstance(each, Choice)}
    with leases.fenced(lease) as locked:
        resolved = dict(locked.resolved or {})
        resolved["machine"] = machine
        resolved["reasons"] = dict(resolved.get("reasons", {})) | reasons
        receipt = {"expected": pace.expected(job, machine)}
        note(locked, *said, resolved=resolved, receipt=receipt)
    return machine


def choose_machine(job: Job, run_dir: Path) -> tuple[dict[str, Any], list[Message]]:
    """What suits this worker's machine and the job, and why."""
    rows = int((job.resolved or {})["spec"]["batch_size"])
    probed, choice, gpu_free = _try(job.base, run_dir, rows=rows)
    held, said = memory.choose(job, probed, gpu_free=gpu_free)
    machine = probed | held
    if settings.STRICT_DETERMINISM:
        machine = machine | {"deterministic": True}
    pace.note_machine(machine, gpu_free=gpu_free)
    if (job.resolved or {})["spec"].get("stability") == "watched":
        machine = machine | {"max_rollbacks": settings.MAX_ROLLBACKS}
    return machine, [choice, *said]


def _try(base: CatalogModel, run_dir: Path, *, rows: int) -> Probed:
    """What suits this machine, and why. Trying takes seconds, so what a processor does best with a
    base is known as long as the worker lives; a GPU is looked for each time, as it may be lost."""
    threads, level = settings.TRAINER_THREADS or available_cores(), isolation()
    key = (base.digest, threads, lanes_for(rows, threads), level)
    if key not in _tried:
        base_dir = settings.MODEL_STORE / base.path
        told = probe_machine(
            base.family, base_dir, run_dir, threads=threads, rows=rows, level=level
        )
        if told[0]["device"] != "cpu":
            return told
        _tried[key] = told
    return _tried[key]


def _fetch_rows(
    tell: Callable[[Message], None],
    vault: Vault,
    with_rows: bool,
    data: Dataset | None,
    path: Path,
    tokens_sha256: str | None,
) -> None:
    """The frozen token ids in the place of the rows, where the spec names them; the rows all the
    same if those are lost, which the trainer freezes again, and for records of which it needs both.
    Raises OurFault `rows_missing` when there is nothing to train from."""
    if data is None or not data.rows_object:
        raise _no_rows()
    if tokens_sha256:
        frozen = tokens_of(path)
        try:
            fetch_file(vault, data.tokens_object, frozen, sha256=tokens_sha256)
        except ObjectLost as error:
            log.warning("reading %s: %s", data.id, error)
            frozen.unlink(missing_ok=True)  # what came of it
            tell(TokensLost(file=data.file.public_id))
        else:
            if not with_rows:
                return
    try:
        fetch_file(vault, data.rows_object, path, sha256=data.rows_sha256)
    except ObjectLost as error:
        raise _no_rows() from error


def _no_rows() -> OurFault:
    return OurFault(
        "rows_missing",
        "The checked rows of the training file are gone.",
        fix="Upload the file again and create the job with it; tell the operator.",
    )


def _restore(lease: RunLease, job: Job, vault: Vault, run_dir: Path, *, keeps_best: bool) -> None:
    """The newest checkpoint that is whole, and the best one if the result may be that."""
    with tenant_scope(lease.tenant_id):
        stored = {c.step: c for c in Checkpoint.objects.filter(job=job).order_by("-step")}
    folder = run_dir / "checkpoints"
    for step, checkpoint in stored.items():
        if not _fetch(checkpoint, vault, folder / str(step)):
            with leases.fenced(lease) as locked:
                note(locked, CheckpointDamaged(step=step))
            continue
        best = json.loads((folder / str(step) / STATE).read_bytes())["best_step"]
        if not keeps_best or best is None or best == step:
            return
        if best in stored and _fetch(stored[best], vault, folder / str(best)):
            return
        shutil.rmtree(folder / str(step))  # without the best one it could not be finished


def _tell_again(lease: RunLease, job: Job, path: Path) -> None:
    """What earlier attempts told of each step: the trainer's checkpoints hold no figures."""
    with tenant_scope(lease.tenant_id), path.open("w", encoding="utf-8") as file:
        told = Event.objects.filter(job=job, type="metrics").order_by("seq")
        for event in told.values("seq", "type", "data").iterator():
            file.write(json.dumps(event, ensure_ascii=False) + "\n")


def _fetch(checkpoint: Checkpoint, vault: Vault, folder: Path) -> bool:
    """False, and no folder, when an object is missing or is not what was stored."""
    if folder.exists():
        return True
    try:
        for name, file in checkpoint.files.items():
            fetch_file(vault, checkpoint.prefix + name, folder / name, sha256=file["sha256"])
    except ObjectLost as error:
        log.warning("checkpoint %s: %s", checkpoint.id, error)
        shutil.rmtree(folder, ignore_errors=True)
        return False
    return True
