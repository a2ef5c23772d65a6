"""What this process's control groups allow, of both versions, for each group on the way up."""

from collections.abc import Iterator
from pathlib import Path

PROC = Path("/proc/self/cgroup")
ROOT = Path("/sys/fs/cgroup")
MEMINFO, VMSTAT = Path("/proc/meminfo"), Path("/proc/vmstat")


def memory_limits() -> Iterator[int]:
    """Bytes."""
    for folder, version in _folders("memory"):
        name = "memory.max" if version == 2 else "memory.limit_in_bytes"
        if (text := _read(folder / name)).isdigit():
            yield int(text)


def memory_left() -> Iterator[int]:
    """Bytes: each limit less what is used of it, without the files' pages that can be dropped."""
    for folder, version in _folders("memory"):
        limit = "memory.max" if version == 2 else "memory.limit_in_bytes"
        usage = "memory.current" if version == 2 else "memory.usage_in_bytes"
        most, used = _read(folder / limit), _read(folder / usage)
        if most.isdigit() and used.isdigit():
            dropped = _number(folder / "memory.stat", "inactive_file" if version == 2
                              else "total_inactive_file")  # fmt: skip
            yield max(0, int(most) - max(0, int(used) - dropped))


def ended_for_memory() -> int:
    """How many processes the kernel has ended in these groups for want of memory, or, where they do
    not say, on this machine."""
    counts = [
        _number(folder / ("memory.events" if version == 2 else "memory.oom_control"), "oom_kill")
        for folder, version in _folders("memory")
    ]
    return max([_number(VMSTAT, "oom_kill"), *counts])


def free_memory() -> int:
    """Bytes that this process and those that it starts may still take."""
    available = _number(MEMINFO, "MemAvailable:") << 10
    return min([available, *memory_left()])


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


def _number(path: Path, name: str) -> int:
    """Of the line that begins with `name`; 0 where there is none."""
    lines = (line.split() for line in _read(path).splitlines())
    return next((int(line[1]) for line in lines if line and line[0] == name), 0)
