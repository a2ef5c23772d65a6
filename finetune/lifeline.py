"""A child process of a worker dies with it, so that none is left behind with a tenant's data."""

import ctypes
import multiprocessing
import os
import signal
import threading
import time

PR_SET_PDEATHSIG = 1
POLL_SECONDS = 0.5


def die_with_parent() -> None:
    """A worker killed with -9 says nothing; its lease moves on, and two of us must not run.

    The kernel's signal comes at once, but also when the parent's *thread* that started us ends
    (prctl(2)). Under a sandbox the parent is the sandbox's own first process, and its keeper, which
    holds the worker's lifeline, ends all of it.
    """
    parent = os.getppid()
    ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent-watch").start()


def end_with_parent(parent: int | None = None) -> None:
    """For a process whose starter we do not control (a server's worker, Celery's embedded beat):
    by the poll alone, since it may have been started by a thread that ends.

    `parent`, where known: one that died before this was called is then missed, too, and not taken
    for the process that inherits its orphans.
    """
    if parent is None:
        starter = multiprocessing.parent_process()
        parent = os.getppid() if starter is None else starter.pid
    threading.Thread(target=_watch, args=(parent,), daemon=True, name="parent-watch").start()


def _watch(parent: int | None) -> None:
    while os.getppid() == parent:
        time.sleep(POLL_SECONDS)
    os.kill(os.getpid(), signal.SIGKILL)
