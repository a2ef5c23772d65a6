"""The child process of a mining: `python -m finetune.mining`, as a check's."""

import sys
from pathlib import Path

from finetune.records.check.bounds import Tell, bounded


def _mine(out_dir: Path, tell: Tell) -> None:
    from finetune.mining.run import run
    from finetune.mining.spec import MiningSpec

    spec = MiningSpec.model_validate_json((out_dir / "spec.json").read_bytes())
    run(spec, out_dir, lambda: tell(0, 0, 0))


if __name__ == "__main__":
    sys.exit(bounded(Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), _mine, "mining"))
