"""What bubblewrap does, for machines without it: a command in namespaces and a root of its own.

    python -I -S namespaces.py ROOM COMMAND...

ROOM is JSON: {"read": [[from, at]], "write": [[from, at]], "devices": [path], "links": [[to, at]],
"chdir": path}. Needs Linux 5.12 (mount_setattr). Exits with the command's code, or 128 and the
signal that ended it; 125 where the room could not be built. Standard library only.
"""

import ctypes
import json
import os
import select
import signal
import struct
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

NEWNS, NEWCGROUP, NEWUTS, NEWIPC, NEWUSER, NEWPID, NEWNET = (
    0x00020000, 0x02000000, 0x04000000, 0x08000000, 0x10000000, 0x20000000, 0x40000000,
)  # fmt: skip
MS_RDONLY, MS_NOSUID, MS_NODEV, MS_NOEXEC = 1, 2, 4, 8
MS_BIND, MS_REC, MS_PRIVATE = 4096, 16384, 1 << 18
MNT_DETACH = 2
PR_SET_PDEATHSIG, PR_CAPBSET_DROP, PR_SET_NO_NEW_PRIVS, PR_CAP_AMBIENT = 1, 24, 38, 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SYS_MOUNT_SETATTR = 442  # the same number on every architecture
SYS_PIVOT_ROOT = {"x86_64": 155, "aarch64": 41}
AT_RECURSIVE = 0x8000
CAP_VERSION_3 = 0x20080522
NO_ROOM = 125
TMP_BYTES = 256 << 20
DEVICES = ("null", "zero", "full", "random", "urandom")
_LIBC = ctypes.CDLL(None, use_errno=True)


def run(room: dict[str, Any], become: Callable[[], None]) -> NoReturn:
    """A process in new namespaces becomes the command; this one ends with its exit code."""
    try:
        code = _watched(room, become)
    except OSError as error:
        code = _not_built(error)
    os._exit(code)


def _watched(room: dict[str, Any], become: Callable[[], None]) -> int:
    """The exit code of the namespaces' first process."""
    _enter()
    held, holds = os.pipe()  # closed by the kernel when this process dies
    init = os.fork()
    if init == 0:
        os.close(holds)
        _first_process(room, become, held)
    os.close(held)
    return os.waitstatus_to_exitcode(os.waitpid(init, 0)[1]) & 0xFF


def _enter() -> None:
    """The same user inside as outside, but with no rights beyond these namespaces."""
    user, group = os.geteuid(), os.getegid()
    if user == 0:
        os.setgroups([])
    _check(
        _LIBC.unshare(NEWUSER | NEWNS | NEWPID | NEWIPC | NEWNET | NEWUTS | NEWCGROUP), "unshare"
    )
    for name, text in (
        ("setgroups", "deny"),
        ("uid_map", f"{user} {user} 1"),
        ("gid_map", f"{group} {group} 1"),
    ):
        with open(f"/proc/self/{name}", "w") as file:
            file.write(text)


def _first_process(room: dict[str, Any], become: Callable[[], None], held: int) -> None:
    """PID 1 inside: builds the room, starts the command, reaps; when it ends, all end."""
    try:
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if select.select([held], [], [], 0)[0]:
            os._exit(NO_ROOM)  # its parent died before the line above
        os.close(held)
        _build(room)
        _give_up_rights()
        child = os.fork()
        if child == 0:
            become()
        os._exit(_reap(child))
    except OSError as error:
        os._exit(_not_built(error))


def _not_built(error: OSError) -> int:
    print(f"the sandbox could not be built: {error}", file=sys.stderr, flush=True)
    return NO_ROOM


def _reap(child: int) -> int:
    while True:
        pid, status = os.wait()
        if pid == child:
            code = os.waitstatus_to_exitcode(status)
            return code if code >= 0 else 128 - code


def _build(room: dict[str, Any]) -> None:
    """A tmpfs root with nothing but what the room names; the old root is let go of."""
    _mount(None, "/", None, MS_REC | MS_PRIVATE)
    _mount("tmpfs", "/tmp", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m")  # noqa: S108
    os.mkdir("/tmp/new")  # noqa: S108
    os.mkdir("/tmp/old")  # noqa: S108
    _pivot("/tmp", "/tmp/old")  # noqa: S108
    _mount("tmpfs", "/new", "tmpfs", MS_NOSUID | MS_NODEV, "mode=0755,size=16m")
    _tmpfs("/new/tmp", "mode=1777")
    _dev(room["devices"])
    os.mkdir("/new/proc")
    _mount("proc", "/new/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC | MS_RDONLY)
    binds = [(at, source, MS_RDONLY) for source, at in room["read"]]
    binds += [(at, source, 0) for source, at in room["write"]]
    for at, source, access in sorted(binds):  # a folder before what lies in it
        _bind("/old" + source, "/new" + at, access | MS_NOSUID | MS_NODEV)
    for to, at in room["links"]:
        if not os.path.lexists("/new" + at):
            os.makedirs(os.path.dirname("/new" + at), exist_ok=True)
            os.symlink(to, "/new" + at)
    _restrict("/new", MS_RDONLY | MS_NOSUID | MS_NODEV, recursive=False)
    _check(_LIBC.umount2(b"/old", MNT_DETACH), "umount /old")
    os.chdir("/new")
    _pivot(".", ".")  # the old root lies over the new one: pivot_root(2)
    _check(_LIBC.umount2(b".", MNT_DETACH), "umount")
    os.chdir(room["chdir"])


def _dev(devices: Sequence[str]) -> None:
    _tmpfs("/new/dev", "mode=0755")
    for path in [f"/dev/{name}" for name in DEVICES] + list(devices):
        _bind("/old" + path, "/new" + path, MS_NOSUID | MS_NOEXEC)
    for name, to in (("fd", ""), ("stdin", "/0"), ("stdout", "/1"), ("stderr", "/2")):
        os.symlink(f"/proc/self/fd{to}", f"/new/dev/{name}")
    os.mkdir("/new/dev/shm", 0o1777)


def _tmpfs(path: str, options: str) -> None:
    os.mkdir(path)
    _mount("tmpfs", path, "tmpfs", MS_NOSUID | MS_NODEV, f"{options},size={TMP_BYTES}")


def _bind(source: str, at: str, flags: int) -> None:
    if os.path.isdir(source):
        os.makedirs(at, exist_ok=True)
    else:
        os.makedirs(os.path.dirname(at), exist_ok=True)
        if not os.path.exists(at):
            with open(at, "x"):
                pass
    _mount(source, at, None, MS_BIND | MS_REC)
    _restrict(at, flags, recursive=True)


def _restrict(path: str, flags: int, *, recursive: bool) -> None:
    """Only adds flags: those that the machine's own mount has stay, in submounts too."""
    wanted = struct.pack("QQQQ", flags, 0, 0, 0)  # MOUNT_ATTR_* equal MS_* for these four
    depth = AT_RECURSIVE if recursive else 0
    done = _LIBC.syscall(SYS_MOUNT_SETATTR, -100, path.encode(), depth, wanted, len(wanted))
    _check(done, f"mount_setattr {path}")


def _mount(
    source: str | None, at: str, kind: str | None, flags: int, options: str | None = None
) -> None:
    text = [part.encode() if part is not None else None for part in (source, at, kind, options)]
    done = _LIBC.mount(text[0], text[1], text[2], ctypes.c_ulong(flags), text[3])
    _check(done, f"mount {at}")


def _pivot(new: str, old: str) -> None:
    number = SYS_PIVOT_ROOT[os.uname().machine]
    _check(_LIBC.syscall(number, new.encode(), old.encode()), "pivot_root")
    os.chdir("/" if new != "." else ".")


def _give_up_rights() -> None:
    """No capability, and none to be had: not by exec as root, not by a setuid file."""
    for capability in range(64):
        _LIBC.prctl(PR_CAPBSET_DROP, capability, 0, 0, 0)  # past the last one: EINVAL
    _LIBC.prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
    header, none = struct.pack("II", CAP_VERSION_3, 0), bytes(24)
    _check(_LIBC.capset(header, none), "capset")
    _check(_LIBC.prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "no_new_privs")


def _check(done: int, what: str) -> None:
    if done != 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")


if __name__ == "__main__":
    run(json.loads(sys.argv[1]), lambda: os.execvp(sys.argv[2], sys.argv[2:]))
