"""How a training process ends from outside: yielding on SIGTERM, dying with its worker."""

import ctypes
import os
import signal
import threading
import time
from types import FrameType

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5


class Yielded(Exception):
    """SIGTERM came: what is done is checkpointed and the process ends with ExitCode.YIELDED."""


class Stop:
    """Set by SIGTERM, looked at between micro-batches."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)

    def check(self) -> None:
        if self.requested:
            raise Yielded

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True


def die_with_parent() -> None:
    """A worker killed with -9 says nothing; its lease moves on, and two trainers must not run.

    The kernel's signal comes at once, but also when the parent's *thread* that started us ends
    (prctl(2)), so a launcher must start and await the process in one thread. The poll covers a
    parent that died before the call; PRIVATUNE_PARENT_PID says who that was.
    """
    parent = int(os.environ.get("PRIVATUNE_PARENT_PID") or os.getppid())
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent-watch").start()


def _watch(parent: int) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
