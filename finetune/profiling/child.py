"""Runs a profile or a scrub in a child process, within the bounds of a check."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from finetune.profiling.run import FINDINGS, REPORT, SCRUBBED, TAGS
from finetune.profiling.spec import ProfileSpec
from finetune.records.check.child import Progress, run_in_child
from finetune.sandbox.levels import Level

Report = TypeVar("Report", bound=BaseModel)


def profile_in_child(
    spec: ProfileSpec,
    out_dir: Path,
    report: type[Report],
    *,
    memory_mb: int,
    seconds: int,
    progress: Progress | None,
    level: Level,
) -> Report:
    """Leaves what `run` does in out_dir. Raises as `check_in_child`, of a profile."""
    run_in_child(
        "finetune.profiling",
        "profile",
        spec,
        out_dir,
        read=(spec.rows, *([spec.against] if spec.against else [])),
        leaves=(REPORT, FINDINGS, TAGS, SCRUBBED),
        memory_mb=memory_mb,
        seconds=seconds,
        progress=progress,
        level=level,
    )
    return report.model_validate_json((out_dir / REPORT).read_bytes())
