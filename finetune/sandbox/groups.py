"""What this process's control groups allow, of both versions, for each group on the way up."""

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")


def memory_limits() -> Iterator[int]:
    """Bytes."""
    for folder, version in _folders("memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        if (text := _read(folder / name)).isdigit():
            yield int(text)


def cpu_limits() -> Iterator[float]:
    """Processors: the time that may be used in a period, over the period."""
    for folder, version in _folders("cpu"):
        if version == 2:
            quota, _, period = _read(folder / "cpu.max").partition(" ")
        else:
            quota, period = (_read(folder / f"cpu.cfs_{x}_us") for x in ("quota", "period"))
        if quota.isdigit() and period.isdigit():
            yield int(quota) / int(period)


def _folders(controller: str) -> Iterator[tuple[Path, int]]:
    if not PROC.is_file():
        return
    for line in PROC.read_text().splitlines():
        _, kinds, path = line.split(":", 2)
        if kinds and controller not in kinds.split(","):
            continue
        root = ROOT / controller if kinds else ROOT
        here = Path(f"{root}{path}")
        for folder in (here, *here.parents):
            if folder.is_relative_to(root):
                yield folder, 1 if kinds else 2


def _read(path: Path) -> str:
    return path.read_text().strip() if path.is_file() else ""
