"""The last step before a sandboxed module: `python -m finetune.sandbox.inside LIMITS MODULE ARGS`.

LIMITS is JSON: {"memory_mb", "tasks"}. Whatever was not taken away by namespaces is here: rights by
exec, system calls, memory, processes. The module then runs as `python -m MODULE ARGS` would. As the
module `finetune.sandbox.inside` itself it prints what holds, as JSON (see `seen`).
"""

import json
import os
import resource
import runpy
import signal
import sys

from finetune.sandbox import seccomp

PR_SET_NO_NEW_PRIVS = 38
NAMESPACES = ("user", "mnt", "pid", "ipc", "net")


def confine(memory_mb: int, tasks: int) -> None:
    """Raises OSError where the kernel refuses; nothing has then run yet."""
    if memory_mb:
        _limit(resource.RLIMIT_DATA, memory_mb << 20)
    if tasks:
        _limit(resource.RLIMIT_NPROC, tasks)
    _limit(resource.RLIMIT_CORE, 0)
    seccomp.install()
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})


def _say_that_we_are_here() -> None:
    """To the keeper, if there is one: a SIGTERM that it passes on from now on waits for us."""
    tells = os.environ.pop("SANDBOX_READY", None)
    if tells is not None:
        os.write(int(tells), b"!")
        os.close(int(tells))


def _limit(what: int, value: int) -> None:
    """Never more than it was: only root may raise the hard limit."""
    hard = resource.getrlimit(what)[1]
    least = value if hard == resource.RLIM_INFINITY else min(value, hard)
    resource.setrlimit(what, (least, least))


def seen() -> dict[str, str]:
    """Which namespaces this process is in, and its flags as /proc tells them."""
    with open("/proc/self/status") as status:
        fields = dict(line.rstrip("\n").split(":", 1) for line in status)
    flags = {name: fields[name].strip() for name in ("NoNewPrivs", "Seccomp", "CapEff", "CapBnd")}
    return {name: os.readlink(f"/proc/self/ns/{name}") for name in NAMESPACES} | flags


def main(argv: list[str]) -> None:
    _say_that_we_are_here()
    limits, module = json.loads(argv[1]), argv[2]
    confine(limits["memory_mb"], limits["tasks"])
    if module == "finetune.sandbox.inside":
        print(json.dumps(seen()))
        return
    sys.argv = [module, *argv[3:]]
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv)
