"""The child process of a check: `python -m finetune.records.check OUT_DIR MEMORY_MB SECONDS`.

Reads OUT_DIR/spec.json and leaves report.json, or what `bounds.py` says.
"""

import sys
from pathlib import Path

from finetune.records.check.bounds import Tell, bounded


def _check(out_dir: Path, tell: Tell) -> None:
    from finetune.records.check.run import run_check
    from finetune.records.check.spec import CheckSpec

    spec = CheckSpec.model_validate_json((out_dir / "spec.json").read_bytes())
    total = spec.source.stat().st_size
    run_check(spec, out_dir, lambda read, rows: tell(read, total, rows))


if __name__ == "__main__":
    sys.exit(bounded(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), _check, "check"))
