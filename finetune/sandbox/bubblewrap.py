"""A room as arguments of bubblewrap (bwrap(1), 0.8 or later)."""

import shutil
from pathlib import Path

from finetune.sandbox.namespaces import TMP_BYTES
from finetune.sandbox.room import Room, devices, links


def program() -> str | None:
    return shutil.which("bwrap")


def prefix(bwrap: str, room: Room, cwd: Path) -> list[str]:
    """What stands before the command. --die-with-parent: it ends with its keeper."""
    binds = [(at, source, "--ro-bind") for source, at in room.readable()]
    binds += [(at, source, "--bind") for source, at in room.writable()]
    linked = [part for to, at in links() for part in ("--symlink", to, at)]
    return [
        *(bwrap, "--unshare-user", "--unshare-ipc", "--unshare-pid", "--unshare-net"),
        *("--unshare-uts", "--unshare-cgroup-try", "--die-with-parent", "--cap-drop", "ALL"),
        *("--size", str(TMP_BYTES), "--tmpfs", "/tmp"),  # noqa: S108  its own
        *("--dev", "/dev", "--size", str(TMP_BYTES), "--tmpfs", "/dev/shm"),  # noqa: S108
        *("--proc", "/proc"),
        *(part for path in devices() for part in ("--dev-bind", path, path)),
        # A folder before what lies in it
        *(part for at, source, flag in sorted(binds) for part in (flag, source, at)),
        *linked,
        *(
            "--remount-ro",
            "/proc",
            "--remount-ro",
            "/dev",
            "--remount-ro",
            "/",
            "--chdir",
            str(cwd),
            "--",
        ),
    ]
