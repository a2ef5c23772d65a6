"""Takes over what the training process says: its events, its progress, its checkpoints, and some of
the completions that it draws."""

from datetime import timedelta
from pathlib import Path
from typing import Any

from django.utils import timezone

from finetune.events import CheckpointReplaced
from finetune.models import Checkpoint, Event, Job, StepSample
from finetune.services.jobs.steps import take_over
from finetune.services.runs.lease import RunLease
from finetune.services.runs.samples import Sampler
from finetune.storage import checkpoint_prefix, delete_prefix, sample_object, store_file
from finetune.work import leases
from tenants.database.scope import tenant_scope
from tenants.vault.vault import Vault


class History:
    """The job's history while one attempt at it runs. Every write is fenced by the lease.

    After a crash the trainer does the steps since the last checkpoint again, bit for bit; their
    metrics are already written, and are not written twice. A step's completions are written with
    its metrics.
    """

    def __init__(self, lease: RunLease, vault: Vault, sampler: Sampler | None = None) -> None:
        self._lease = lease
        self._vault = vault
        self._sampler = sampler
        self._taken = 0  # the last seq of the trainer's that is written
        with tenant_scope(lease.tenant_id):
            last = (
                Event.objects.filter(job_id=lease.job_id, type="metrics").order_by("-seq").first()
            )
            sampled = StepSample.objects.filter(job_id=lease.job_id).order_by("-step").first()
        self._last_step = int(last.data.get("step", 0)) if last else 0
        self._sampled = sampled.step if sampled else 0

    def take(self, events: list[dict[str, Any]], run_dir: Path) -> None:
        """Writes the events in order; a checkpoint is stored first, so that its event never lies.

        Raises LeaseLost, StorageFull, StorageDown, django.db.Error; the same events may then be
        given again, and what was written is not written twice.
        """
        waiting: list[dict[str, Any]] = []
        for event in events:
            if event["seq"] <= self._taken or self._is_repeated(event):
                continue
            waiting.append(event)
            if event["type"] == "checkpoint":
                self._take_checkpoint(waiting, run_dir)
                waiting = []
        if waiting:
            samples = self._sample(waiting, run_dir)
            with leases.fenced(self._lease) as job:
                self._write(job, waiting, samples)
            self._note(waiting, samples)

    def _is_repeated(self, event: dict[str, Any]) -> bool:
        return event["type"] == "metrics" and int(event["data"]["step"]) <= self._last_step

    def _note(self, written: list[dict[str, Any]], samples: list[StepSample]) -> None:
        self._sampled = max([self._sampled, *(each.step for each in samples)])
        self._taken = written[-1]["seq"]
        steps = [event["data"]["step"] for event in written if event["type"] == "metrics"]
        self._last_step = max([self._last_step, *steps])

    def _take_checkpoint(self, events: list[dict[str, Any]], run_dir: Path) -> None:
        """`events` end with the checkpoint's own."""
        told = events[-1]["data"]
        prefix = checkpoint_prefix(self._lease.run_id, self._lease.epoch, told["step"])
        stored = self._store(prefix, run_dir / told["path"], told["sha256"])
        if stored is None:
            replaced = CheckpointReplaced(step=told["step"])
            events[-1] = events[-1] | {"type": "message"} | replaced.entry(told)
        samples = self._sample(events, run_dir)
        with leases.fenced(self._lease) as job:
            self._write(job, events, samples)
            unneeded = self._keep(job, told, prefix, stored) if stored is not None else []
        self._note(events, samples)
        for each in unneeded:
            delete_prefix(self._vault, each)

    def _store(self, prefix: str, folder: Path, told: dict[str, str]) -> dict[str, Any] | None:
        """Name -> {sha256, bytes} of what is now in the vault; None when the trainer, which keeps
        only its newest, removed the folder meanwhile."""
        files = {}
        try:
            for name in sorted(told):
                info = store_file(self._vault, prefix + name, folder / name)
                files[name] = {"sha256": info.sha256, "bytes": info.plaintext_bytes}
        except FileNotFoundError:
            files = {}
        if {name: file["sha256"] for name, file in files.items()} == told:
            return files
        delete_prefix(self._vault, prefix)
        return None

    def _keep(
        self, job: Job, told: dict[str, Any], prefix: str, files: dict[str, Any]
    ) -> list[str]:
        """Writes the row; returns the prefixes of objects that it makes unneeded."""
        old = Checkpoint.objects.filter(job=job, step=told["step"]).first()
        values = {
            "run_id": self._lease.run_id,
            "epoch": self._lease.epoch,
            "prefix": prefix,
            "files": files,
            "metrics": told.get("metrics") or {},
        }
        Checkpoint.objects.update_or_create(job=job, step=told["step"], defaults=values)
        leases.made_progress(self._lease)
        replaced = [old.prefix] if old is not None and old.prefix != prefix else []
        return replaced + _drop_unneeded(job)

    def _sample(self, events: list[dict[str, Any]], run_dir: Path) -> list[StepSample]:
        """Stores some completions of each step that is told, and gives the rows to be written."""
        found: list[StepSample] = []
        if self._sampler is None:
            return found
        for event in (each for each in events if each["type"] == "metrics"):
            step = self._sampler.drew(event["data"]["step"])
            if step <= max([self._sampled, *(each.step for each in found)]):
                continue
            lines = self._sampler.lines(run_dir, step, event["data"]["total_steps"])
            if lines:
                found.append(self._stored(step, lines))
        return found

    def _stored(self, step: int, lines: list[bytes]) -> StepSample:
        name = sample_object(self._lease.run_id, self._lease.epoch, step)
        info = self._vault.put_bytes(name, b"".join(lines))
        return StepSample(
            job_id=self._lease.job_id,
            step=step,
            object_name=name,
            completions=len(lines),
            bytes=info.plaintext_bytes,
        )

    def _write(self, job: Job, events: list[dict[str, Any]], samples: list[StepSample]) -> None:
        StepSample.objects.bulk_create(samples)
        metrics = [event["data"] for event in events if event["type"] == "metrics"]
        changes: dict[str, Any] = {}
        if metrics:
            changes["total_steps"] = metrics[-1]["total_steps"]
            left = timedelta(seconds=float(metrics[-1]["seconds_left"]))
            changes["estimated_finish"] = timezone.now() + left
        take_over(job, events, **changes)


def _drop_unneeded(job: Job) -> list[str]:
    """Keeps the newest two (one may be damaged), the best, and those at the end of an epoch, which
    the customer sees as the job's checkpoints; forgets the others and returns their prefixes."""
    newest_first = list(Checkpoint.objects.filter(job=job).order_by("-step"))
    evaluated = [c for c in newest_first if c.metrics.get("valid_loss") is not None]
    best = min(evaluated, key=lambda c: c.metrics["valid_loss"], default=None)
    unneeded = [
        checkpoint
        for checkpoint in newest_first[2:]
        if checkpoint != best and float(checkpoint.metrics.get("epoch", 0.5)) % 1 != 0
    ]
    Checkpoint.objects.filter(id__in=[each.id for each in unneeded]).delete()
    return [each.prefix for each in unneeded]
