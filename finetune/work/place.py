"""What computes on this machine, in words by which measurements of like machines are kept."""

from functools import lru_cache
from pathlib import Path
from typing import Any

CPU_NAMES = ("model name", "Model", "Hardware")
LONGEST = 120  # characters of the column


def place_of(machine: dict[str, Any]) -> str:
    """Of a RunSpec's fields for this machine."""
    if machine["device"] != "cpu":
        return f"{machine['device']}: {_gpu()}"[:LONGEST]
    return f"cpu: {_cpu()}, {machine['threads']} threads"[:LONGEST]


@lru_cache(maxsize=1)
def _cpu() -> str:
    return _named(Path("/proc/cpuinfo"), CPU_NAMES) or "unknown"


@lru_cache(maxsize=1)
def _gpu() -> str:
    """As NVIDIA's driver tells without torch, which a worker does not load."""
    told = sorted(Path("/proc/driver/nvidia/gpus").glob("*/information"))
    return (_named(told[0], ("Model",)) if told else "") or "unknown"


def _named(path: Path, names: tuple[str, ...]) -> str:
    try:
        lines = path.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system: it has no name, and is none the worse
        return ""
    pairs = (line.partition(":") for line in lines)
    return next((value.strip() for key, _, value in pairs if key.strip() in names), "")
