"""Stands between a worker and what it sandboxes: passes SIGTERM in and the exit code out.

    python -I -S keeper.py LIFELINE SECONDS COMMAND...

LIFELINE is a pipe's descriptor whose end of file says that the worker is done with the command or
dead (-1: the parent process itself is watched); SECONDS bounds the wall clock (0: no bound).
The command's innermost process says by a byte on the descriptor in PRIVATUNE_READY that it is there
(`finetune.sandbox.inside`). However this ends, nothing that it started lives on. Standard library
only: it starts in 15 ms.
"""

import ctypes
import os
import resource
import select
import signal
import sys
import time

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_SECONDS = 0.5
BY_SIGNAL = 128  # a wrapper's way to say by its exit code that a signal ended the command
_LIBC = ctypes.CDLL(None, use_errno=True)


class Keeper:
    def __init__(self, lifeline: int, seconds: float) -> None:
        self.lifeline = lifeline
        self.deadline = time.monotonic() + seconds if seconds else None
        self.parent = os.getppid()
        self.asked = False
        self.ready = False
        self.hears, self.tells = os.pipe()
        self.woken, self.waker = os.pipe()
        for end in (self.woken, self.waker):
            os.set_blocking(end, False)
        if lifeline >= 0:
            os.set_inheritable(lifeline, False)
        # What outlives its own parent comes to us and is ended here
        _LIBC.prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)

    def keep(self, command: list[str]) -> int:
        """Runs the command to its end; its wait status."""
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        # Blocked and not ignored: whoever has no handler yet gets it when it is ready, and the
        # processes of the wrapper between, which have none, are not ended by it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        child = _start(command, self.tells)
        os.close(self.tells)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        try:
            return self._watch(child)
        finally:
            _end_all()

    def _ask(self, *_: object) -> None:
        self.asked = True

    def _pass_on(self, child: int) -> None:
        """Once, to a process that is there: before its fork the signal would stay with the wrapper,
        which has it blocked for good, and a second one could hit a process at its very end."""
        self.asked = False
        try:
            os.killpg(child, signal.SIGTERM)
        except ProcessLookupError:
            return  # it has just ended

    def _watch(self, child: int) -> int:
        while True:
            done, status = os.waitpid(child, os.WNOHANG)
            if done:
                return status
            if self.asked and self.ready:
                self._pass_on(child)
            if self.deadline and time.monotonic() > self.deadline:
                print("the time limit is reached", file=sys.stderr, flush=True)
                return int(signal.SIGXCPU)
            if self._is_let_go():
                return int(signal.SIGKILL)

    def _is_let_go(self) -> bool:
        watched = [end for end in (self.woken, self.hears, self.lifeline) if end >= 0]
        left = self.deadline - time.monotonic() if self.deadline else LOOK_SECONDS
        ready, _, _ = select.select(watched, [], [], max(0.0, min(left, LOOK_SECONDS)))
        if self.woken in ready:
            os.read(self.woken, 4096)
        if self.hears in ready:
            self.ready = os.read(self.hears, 1) != b""
            os.close(self.hears)
            self.hears = -1
        if self.lifeline >= 0:
            return self.lifeline in ready
        return os.getppid() != self.parent


def _start(command: list[str], tells: int) -> int:
    """A session of its own: the terminal's signals reach the keeper only, which passes them on."""
    os.set_inheritable(tells, True)
    keeper = os.getpid()
    child = os.fork()
    if child:
        return child
    try:
        os.setsid()
        _LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
        if os.getppid() == keeper:
            for number in (signal.SIGPIPE, signal.SIGXFSZ):
                signal.signal(number, signal.SIG_DFL)
            os.execvpe(command[0], command, os.environ | {"PRIVATUNE_READY": str(tells)})
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)
    os._exit(127)


def _end_all() -> None:
    """Kills and reaps whatever is left, as often as something new is handed to us."""
    while True:
        with open(f"/proc/self/task/{os.getpid()}/children") as listed:
            for pid in listed.read().split():
                try:
                    os.kill(int(pid), signal.SIGKILL)
                except ProcessLookupError:
                    continue
        try:
            os.waitpid(-1, 0)
        except ChildProcessError:
            return


def _end_as(status: int) -> None:
    """Ends this process the way the command ended, by its code or by its signal."""
    if os.WIFSIGNALED(status):
        number = os.WTERMSIG(status)
    else:
        code = os.waitstatus_to_exitcode(status)
        if not BY_SIGNAL < code < BY_SIGNAL + signal.NSIG:
            os._exit(code)
        number = code - BY_SIGNAL
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    if number not in (signal.SIGKILL, signal.SIGSTOP):
        signal.signal(number, signal.SIG_DFL)
    os.kill(os.getpid(), number)
    os._exit(BY_SIGNAL + number)


if __name__ == "__main__":
    _end_as(Keeper(int(sys.argv[1]), float(sys.argv[2])).keep(sys.argv[3:]))
