"""Which jobs take like time and memory: the settings and kinds of rows that decide it."""

import hashlib
import json
import math
from typing import Any

from django.conf import settings

from finetune.families.contract import AdapterSpec
from finetune.grading import specs
from finetune.models import Artifact, Job
from finetune.services.jobs.judges import stage_named


def settings_of(job: Job) -> dict[str, Any]:
    """Of a resolved job. Lengths are told in half octaves: rows a fifth longer are of one kind."""
    spec, report = (job.resolved or {})["spec"], _report(job)
    adapter = spec["adapter"]
    tokens, rows = int(report["tokens_total"]), max(1, int(report["rows"]))
    if files := (job.resolved or {}).get("files"):
        tokens = sum(each["tokens_per_epoch"] for each in files)
        rows = sum(each["rows_per_epoch"] for each in files)
    return {
        "objective": spec["method"],
        "adapter": {
            "r": AdapterSpec.model_validate(adapter).written_rank,  # what is computed
            "targets": adapter["targets"],
            "dropout": adapter["dropout"] > 0,
            "use_dora": adapter["use_dora"],
        },
        "batch_size": spec["batch_size"],
        "row_tokens": round(2 ** (round(2 * math.log2(max(1, tokens / rows))) / 2)),
        "trained_quarters": round(4 * report["trained"] / max(1, int(report["tokens_total"]))),
        "packed_to": spec["max_length"] if spec["packing"] else None,
        "gradient_checkpointing": spec.get("gradient_checkpointing", "auto"),
        "micro_batch_tokens": spec.get("micro_batch_tokens", "auto"),
        "deterministic": bool(settings.STRICT_DETERMINISM),
        **({"graders": graders} if (graders := _graders(job)) else {}),
        # rows share no states then; unnamed otherwise, as in what older versions measured
        **({"noise": True} if spec.get("neftune_noise_alpha") else {}),
    }


def _graders(job: Job) -> list[list[str]]:
    """Of parts that are asked beside the training: their type, and of a judging model its base. In
    the open scope. One that a stage is still to make has the base of its pipeline."""
    spec = (job.resolved or {})["spec"].get("grader")
    if not spec:
        return []
    parts = specs.parts_of(specs.GRADER.validate_python(spec))
    found: list[list[str]] = [[part.type] for part in parts if isinstance(part, specs.Python)]
    for part in parts:
        if isinstance(part, specs.Asking):
            found.append([part.type, _base_of(part.model, job)])
    return sorted(found)


def _base_of(judge: str, job: Job) -> str:
    if stage_named(judge) is not None:
        return job.base.name
    if not judge.startswith("ft:"):
        return judge
    made = Artifact.objects.filter(model_name=judge).values_list("base__name", flat=True).first()
    return str(made or "")  # never a model's own name, which names its tenant


def digest_of(shape: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(shape, sort_keys=True).encode()).hexdigest()


def tokens_of(job: Job) -> tuple[int, int]:
    """(that an epoch takes of the training rows, of all validation rows)."""
    if (split := (job.resolved or {}).get("split")) is not None:
        return int(split["tokens"]), int(split["held_out_tokens"])
    valid = job.validation_data.report if job.validation_data is not None else None
    files = (job.resolved or {}).get("files")
    trained = sum(f["tokens_per_epoch"] for f in files) if files else _report(job)["tokens_total"]
    return int(trained), int((valid or {}).get("tokens_total") or 0)


def _report(job: Job) -> dict[str, Any]:
    data = job.training_data
    assert data is not None  # of a job that was resolved
    return (data.report or {}) | {"rows": data.rows, "trained": data.tokens_trained}
