"""What each process of the stack starts with: no secret, only where to read its own (env.py).

One Unix user runs the whole embedded stack, so a process that is broken into could still open its
sibling's file. That is closed by namespaces for whatever handles a customer's data (the launcher),
and by separate users or containers in production.
"""

import os
from pathlib import Path

import privatune
from finetune.trainer.cores import SPINS
from privatune.env import Process, misplaced

# For what knows nothing: how to find programs and devices, and how many threads to use.
BARE = (
    "PATH",
    "LD_LIBRARY_PATH",
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "NVIDIA_DRIVER_CAPABILITIES",
    "OMP_NUM_THREADS",
    "TOKENIZERS_PARALLELISM",
    "TMPDIR",
    "LANG",
    "PRIVATUNE_SANDBOX",
)
SUPERVISORS_OWN = "DATABASE_SUPERUSER_PASSWORD"
CODE = Path(privatune.__file__).resolve().parents[2]


def environment_of(kind: Process, data: Path) -> dict[str, str]:
    """The caller's environment wins over the data folder's values, in what that kind may know."""
    if kind is Process.SERVING:
        bare = {name: os.environ[name] for name in BARE if name in os.environ}
        given = {"PYTHONPATH": str(CODE), "PYTHONUNBUFFERED": "1", "HF_HUB_OFFLINE": "1"}
        return bare | given | SPINS
    kept = dict(os.environ)
    for name in (*misplaced(kept, kind), SUPERVISORS_OWN):
        kept.pop(name, None)
    return kept | {
        "PRIVATUNE_PROCESS": kind.value,
        "PRIVATUNE_DATA": str(data),
        "DJANGO_SETTINGS_MODULE": "privatune.settings",
        "PYTHONUNBUFFERED": "1",
    }
