"""A program of an attacker who runs inside: tries what was possible there and writes what he got.

Run as `python -m tests.finetune.sandbox.probe FOLDER`; FOLDER/targets.json names what to try. Every
attempt is a name with true (it worked) or false.
"""

import ctypes
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import finetune


def main(folder: Path) -> None:
    if hasattr(signal, "pthread_sigmask"):
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    targets = json.loads((folder / "targets.json").read_bytes())
    got = {f"read {path}": works(lambda path=path: read(path)) for path in targets["read"]}
    got |= {f"write {path}": works(lambda path=path: write(path)) for path in targets["write"]}
    got |= {f"kill -0 {pid}": works(lambda pid=pid: os.kill(pid, 0)) for pid in targets["pids"]}
    got["connect unix"] = works(lambda: connect(socket.AF_UNIX, targets["unix"]))
    got["connect abstract"] = works(lambda: connect(socket.AF_UNIX, "\0" + targets["abstract"]))
    got["connect tcp"] = works(lambda: connect(socket.AF_INET, ("127.0.0.1", targets["port"])))
    got["read the parent's environment"] = works(lambda: parents_environment(targets["secret"]))
    got["write code"] = works(lambda: open_to_write(finetune.__file__))
    got["write a kernel setting"] = works(lambda: open_to_write("/proc/sys/kernel/domainname"))
    got |= {f"call {name}": works(call) for name, call in CALLS.items()}
    tell = {
        "got": got,
        "env": dict(os.environ),
        "cwd": os.getcwd(),
        "open": [os.readlink(f"/proc/self/fd/{n}") for n in listed()],
        "status": Path("/proc/self/status").read_text(),
        "pids": sorted(int(name) for name in os.listdir("/proc") if name.isdigit()),
    }
    (folder / "seen.json").write_text(json.dumps(tell))


def works(attempt: Callable[[], Any]) -> bool:
    try:
        attempt()
    except OSError:
        return False
    return True


def read(path: str) -> None:
    if os.path.isdir(path):
        names = os.listdir(path)
        if not names:
            raise FileNotFoundError(path)
        return
    with open(path, "rb") as file:
        file.read(1)


def write(path: str | Path) -> None:
    with open(path, "xb") as file:
        file.write(b"x")


def open_to_write(path: str | None) -> None:
    assert path is not None
    os.close(os.open(path, os.O_WRONLY))


def connect(family: int, address: Any) -> None:
    with socket.socket(family, socket.SOCK_STREAM) as client:
        client.settimeout(2)
        client.connect(address)


def parents_environment(secret: str) -> None:
    """Any process that can be seen: the parent, its parent, and so on."""
    for name in os.listdir("/proc"):
        if name.isdigit() and name != str(os.getpid()):
            try:
                found = Path(f"/proc/{name}/environ").read_bytes()
            except OSError:
                continue
            if secret.encode() in found:
                return
    raise PermissionError("no process shows it")


def listed() -> list[str]:
    return [n for n in os.listdir("/proc/self/fd") if os.path.lexists(f"/proc/self/fd/{n}")]


def _checked(name: str, *arguments: Any) -> Callable[[], None]:
    def call() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        if getattr(libc, name)(*arguments) == -1:
            raise OSError(ctypes.get_errno(), name)

    return call


CALLS = {
    # a request that succeeds for any process: tracing by the parent, the root's own mount table
    "ptrace": _checked("ptrace", 0, 0, 0, 0),
    "unshare": _checked("unshare", 0x10000000),
    "keyctl": _checked("syscall", 250, 0, -3, 1),  # this process's session keyring, x86_64
}

if __name__ == "__main__":
    main(Path(sys.argv[1]))
