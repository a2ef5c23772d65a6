"""What a sandboxed process can see: programs and code to read, its own folder to write."""

import os
import site
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from glob import glob
from pathlib import Path

import faults
import finetune
from finetune.sandbox.groups import memory_limits

PACKAGE = Path(finetune.__file__).resolve().parent
CODE = (PACKAGE, Path(faults.__file__).resolve().parent)  # what our processes import
# Programs and libraries of the machine, what finds them, and what says how many processors it has.
SYSTEM = (
    *("/usr", "/etc/ld.so.cache", "/etc/ld.so.conf", "/etc/ld.so.conf.d", "/etc/alternatives"),
    *("/etc/localtime", "/sys/devices/system/cpu", "/sys/devices/system/node"),
)
MERGED = ("/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")  # links into /usr, or folders
GPU_DEVICES = ("/dev/nvidia*", "/dev/nvidia-caps/*")
GPU_SYSTEM = ("/sys/bus/pci", "/sys/devices", "/sys/module/nvidia", "/etc/nvidia")


@dataclass(frozen=True)
class Room:
    """`read` and `write` are files and folders, at the same paths inside as outside.

    `memory_mb` bounds each process's own data (RLIMIT_DATA), `tree_mb` the memory of all of them
    together, `tasks` their processes and threads, `seconds` the wall clock; 0 is no bound.
    """

    read: tuple[Path, ...] = ()
    write: tuple[Path, ...] = ()
    memory_mb: int = 0
    tree_mb: int = 0
    tasks: int = 4096
    seconds: float = 0

    def bounds(self) -> tuple[float, int, int]:
        """What the keeper holds it to: seconds, tasks, MB of all together."""
        return self.seconds, self.tasks, self.tree_mb

    def readable(self) -> list[tuple[str, str]]:
        """Pairs (real path outside, path inside), without doubles."""
        return list(dict.fromkeys(_pairs([*_programs(), *CODE, *self.read])))

    def writable(self) -> list[tuple[str, str]]:
        return list(dict.fromkeys(_pairs(self.write)))


def machine_memory_mb() -> int:
    """No more than the machine has: a process that asks for more fails, not its neighbours.

    Without a bound beside a GPU: its driver's reservations count as data.
    """
    if devices():
        return 0
    return (os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")) >> 20


def tree_memory_mb() -> int:
    """Nine tenths of what this process's control groups and the machine give: beyond it somebody
    else's process could be the one that the kernel ends."""
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return min([machine, *memory_limits()]) * 9 // 10 >> 20


def devices() -> list[str]:
    """The GPUs' device files, as far as this machine has them."""
    found = (path for pattern in GPU_DEVICES for path in glob(pattern))
    return sorted(path for path in found if not os.path.isdir(path))


def links() -> list[tuple[str, str]]:
    """(target, path) of the root's own links, such as /bin to usr/bin."""
    return [(os.readlink(path), path) for path in MERGED if os.path.islink(path)]


def _programs() -> Iterator[Path]:
    """The machine's and Python's own folders; never a folder that holds more than code."""
    yield from (Path(path) for path in SYSTEM)
    yield from (Path(path) for path in MERGED if not os.path.islink(path))
    if devices():
        yield from (Path(path) for path in GPU_SYSTEM)
    yield from (Path(prefix) for prefix in (sys.prefix, sys.base_prefix))
    yield from (Path(path) for path in site.getsitepackages())
    # Packages that a .pth file adds; a folder of another kind may hold anything
    yield from (Path(path) for path in sys.path if path.endswith(("-packages",)))
    for path in os.environ.get("LD_LIBRARY_PATH", "").split(":"):
        if os.path.isabs(path) and path.rstrip("/").count("/") > 1:
            yield Path(path)


def _pairs(paths: Iterable[Path]) -> Iterator[tuple[str, str]]:
    """A path through a link is there by both its names; one that does not exist is left out."""
    for path in paths:
        if path.exists():
            real, named = str(path.resolve()), os.path.abspath(path)
            yield real, real
            # Below /bin and the like the link of the root itself leads there
            if named != real and not named.startswith(MERGED):
                yield real, named
