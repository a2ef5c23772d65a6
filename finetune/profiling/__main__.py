"""The child process of a profile or a scrub: `python -m finetune.profiling`, as a check's."""

import sys
from pathlib import Path

from finetune.records.check.bounds import Tell, bounded


def _profile(out_dir: Path, tell: Tell) -> None:
    from finetune.profiling.run import run
    from finetune.profiling.spec import ProfileSpec

    spec = ProfileSpec.model_validate_json((out_dir / "spec.json").read_bytes())
    total = spec.rows.stat().st_size
    run(spec, out_dir, lambda read, rows: tell(read, total, rows))


if __name__ == "__main__":
    sys.exit(bounded(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), _profile, "profile"))
