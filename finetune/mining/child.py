"""Runs a half of mining in a child process, within the bounds of a check."""

from pathlib import Path
from typing import TypeVar

from pydantic import BaseModel

from finetune.mining.run import MINED, REPORT, TEXTS
from finetune.mining.spec import MiningSpec
from finetune.records.check.child import Progress, run_in_child
from finetune.sandbox.levels import Level

Report = TypeVar("Report", bound=BaseModel)


def mine_in_child(
    spec: MiningSpec,
    out_dir: Path,
    report: type[Report],
    *,
    memory_mb: int,
    seconds: int,
    progress: Progress | None,
    level: Level,
) -> Report:
    """Leaves what `run` does in out_dir. Raises as `check_in_child`, of a mining."""
    vectors = [spec.vectors.file] if spec.vectors else []
    run_in_child(
        "finetune.mining",
        "mining",
        spec,
        out_dir,
        read=(spec.rows, *([spec.corpus] if spec.corpus else []), *vectors),
        leaves=(REPORT, TEXTS, MINED),
        memory_mb=memory_mb,
        seconds=seconds,
        progress=progress,
        level=level,
    )
    return report.model_validate_json((out_dir / REPORT).read_bytes())
