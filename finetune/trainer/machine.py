"""What this machine trains a base with: device and precision, and why.

`python -m finetune.trainer.machine BASE_DIR` prints {"device", "precision", "reason"} as JSON.
"""

import json
import sys
from pathlib import Path


def choose(base_dir: Path) -> dict[str, str]:
    """A GPU when there is one; the precision by trying (see finetune.trainer.precision)."""
    import torch

    from finetune.trainer import precision

    device = "cuda" if torch.cuda.is_available() else "cpu"
    chosen, reason = precision.choose(base_dir, device=device)
    return {"device": device, "precision": chosen, "reason": reason}


if __name__ == "__main__":
    print(json.dumps(choose(Path(sys.argv[1]))))
