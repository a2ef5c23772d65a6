"""Which GPU this machine has for trainings: asked of torch in a child, as no worker loads torch."""

import json
import logging
import os
import subprocess
import sys
import time
from pathlib import Path
from threading import Lock

from pydantic import BaseModel, ConfigDict, ValidationError

from finetune.families.contract import Device
from finetune.work.launcher import INHERITED, PACKAGE_ROOT

log = logging.getLogger(__name__)

# A driver's: without any of them there is no GPU, and no child is needed to say so
NODES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")
ASK_AGAIN = 300.0  # seconds: a GPU may be lost, or given back
ASK_SECONDS = 120


class Gpu(BaseModel):
    """What `python -m finetune.families.placement` prints. `bf16`: whether it multiplies that
    itself; `free`: bytes that it had left, None without one."""

    model_config = ConfigDict(frozen=True)

    device: Device
    bf16: bool = False
    free: int | None = None


NONE = Gpu(device="cpu")
_lock = Lock()
_told: tuple[float, Gpu] | None = None


def gpu() -> Gpu:
    """As it was told at most `ASK_AGAIN` seconds ago."""
    global _told  # noqa: PLW0603 - a machine has one answer
    with _lock:
        if _told is None or time.monotonic() - _told[0] > ASK_AGAIN:
            _told = (time.monotonic(), ask() if any(map(os.path.exists, NODES)) else NONE)
        return _told[1]


def ask() -> Gpu:
    """None where the child cannot say: a training that wants a GPU would not find it either."""
    environment = {name: os.environ[name] for name in INHERITED if name in os.environ}
    try:
        child = subprocess.run(
            [sys.executable, "-m", "finetune.families.placement"],
            env=environment | {"PYTHONPATH": str(PACKAGE_ROOT), "LANG": "C.UTF-8"},
            cwd=Path("/"),
            capture_output=True,
            timeout=ASK_SECONDS,
            check=True,
        )
        return Gpu.model_validate(json.loads(child.stdout.splitlines()[-1]))
    except (subprocess.SubprocessError, ValidationError, ValueError, IndexError) as error:
        log.warning("this machine's GPU could not be asked for: %s", error)
        return NONE
