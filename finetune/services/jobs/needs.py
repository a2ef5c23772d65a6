"""The memory that a job's training needs, by the formula of families/footprint.py, before any of it
runs. Where it is chosen by what a machine has: services/runs/memory.py."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

from django.conf import settings

from finetune.families.contract import AdapterSpec
from finetune.families.footprint import Footprint, footprint
from finetune.models import Dataset, Job
from finetune.trainer.spec import RunSpec

PROCESS_BYTES = 512 << 20  # Python and torch themselves
ROW_BYTES, TOKEN_BYTES = 400, 5  # of the rows, which stand in memory encoded


def need_of(job: Job, machine: dict[str, Any]) -> Callable[[int, bool], int]:
    """(tokens at once, with checkpointing) -> bytes, with a machine's device, precision and
    lanes."""
    on_cpu = machine["device"] == "cpu"
    beside = PROCESS_BYTES + _rows_bytes(job) if on_cpu else 0
    print_ = footprint_of(job, machine)
    beside += print_.adapter if job.start else 0  # what it began from stays beside what is trained
    return lambda tokens, checkpointing: beside + print_.need(tokens, checkpointing=checkpointing)


def need_mb(job: Job, machine: dict[str, Any]) -> int:
    """With all that was chosen on the machine; a step of few rows fills no micro-batch. Where an
    older version chose, what stands in memory at once is what the trainer takes unasked."""
    spec, longest = RunSpec.model_validate((job.resolved or {})["spec"] | machine), longest_row(job)
    tokens = max(longest, min(spec.micro_batch_tokens, tokens_of_step(job)))
    return need_of(job, machine)(tokens, spec.gradient_checkpointing) >> 20


def tokens_of_step(job: Job) -> int:
    """At most: with as many rows as a step has, each as long as the longest."""
    spec = (job.resolved or {})["spec"]
    row = spec["max_length"] if spec.get("packing") else longest_row(job)
    return int(spec["batch_size"]) * int(row)


def footprint_of(job: Job, machine: dict[str, Any]) -> Footprint:
    return footprint(
        Path(settings.MODEL_STORE) / job.base.path,
        AdapterSpec.model_validate((job.resolved or {})["spec"]["adapter"]),
        precision=machine["precision"],
        longest=longest_row(job),
        on_cpu=machine["device"] == "cpu",
        lanes=machine.get("lanes", 1),
    )


def longest_row(job: Job) -> int:
    """In tokens, with the answer that is drawn to it, where one is. A reading of an older version
    tells the longest sequence before cutting alone."""
    found = [_longest(data, job) for data in (job.training_data, job.validation_data) if data]
    limit = int((job.resolved or {})["spec"]["max_length"])
    found += [int(each["longest"] or limit) for each in _several(job)]
    most_drawn = (job.resolved or {})["spec"].get("settings", {}).get("max_completion_tokens", 0)
    return max([1, *found]) + int(most_drawn)


def _several(job: Job) -> list[dict[str, Any]]:
    """Its training files, where there are several."""
    files: list[dict[str, Any]] = (job.resolved or {}).get("files", [])
    return files


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
    tokens += sum(int(each["tokens"]) for each in _several(job)[1:])  # of the first it has them
    rows += sum(int(each["rows"]) for each in _several(job)[1:])
    return TOKEN_BYTES * tokens + ROW_BYTES * rows
