"""Stands between a worker and what it sandboxes: passes SIGTERM in and the exit code out.

    python -I -S keeper.py LIFELINE SECONDS TASKS MEMORY_MB COMMAND...

LIFELINE is a pipe's descriptor whose end of file says that the worker is done with the command or
dead (-1: the parent process itself is watched); SECONDS bounds the wall clock, TASKS and
MEMORY_MB the processes and threads and the memory of all together (0: no bound; the kernel's own
limits are per process, and do not bind root).
The command's innermost process says by a byte on the descriptor in SANDBOX_READY that it is there
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
from collections.abc import Callable

PR_SET_PDEATHSIG, PR_SET_CHILD_SUBREAPER = 1, 36
LOOK_SECONDS = 0.25
OF_WRAPPERS = 8  # processes around the command, which the kernel's own limit does not count
TOO_MANY_TASKS, TOO_MUCH_MEMORY = 79, 80  # exit codes; states.ExitCode names them for the rest
FIRST_TO_GO = 500  # of 1000, when the kernel itself must end somebody for want of memory
BY_SIGNAL = 128  # a wrapper's way to say by its exit code that a signal ended the command
_LIBC = ctypes.CDLL(None, use_errno=True)


class Keeper:
    def __init__(self, lifeline: int, seconds: float, tasks: int, memory_mb: int) -> None:
        self.lifeline = lifeline
        self.tasks = tasks
        self.memory_mb = memory_mb
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

    def keep(self, become: Callable[[], None]) -> int:
        """Starts a process that becomes the command, and stays with it to its end; the wait
        status."""
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)
        # Blocked and not ignored: whoever has no handler yet gets it when it is ready, and the
        # processes of the wrapper between, which have none, are not ended by it.
        signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
        child = _start(become, self.tells)
        os.close(self.tells)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM, signal.SIGINT})
        _look_in_time()
        try:
            return self._watch(child)
        finally:
            _end_all(child)

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
            if code := self._too_much():
                return code << 8
            if self._is_let_go():
                return int(signal.SIGKILL)

    def _too_much(self) -> int:
        """The exit code that says which bound is passed, and a line that says so; else 0."""
        most = self.tasks + OF_WRAPPERS if self.tasks else 0
        family, tasks = _family(most)
        if most and tasks > most:
            return _say(TOO_MANY_TASKS, f"more than {self.tasks} processes and threads are running")
        # Pages that several hold count for each at first; only then is it worth to look closely
        for measure in (_resident, _own_share):
            if not self.memory_mb or sum(map(measure, family)) <= self.memory_mb << 10:
                return 0
        return _say(TOO_MUCH_MEMORY, f"together they hold more than {self.memory_mb} MB of memory")

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


def _start(become: Callable[[], None], tells: int) -> int:
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
            _go_first()
            os.environ["SANDBOX_READY"] = str(tells)
            become()
    except OSError as error:
        print(f"the command could not be started: {error}", file=sys.stderr, flush=True)
    os._exit(127)


def execute(command: list[str]) -> None:
    """Returns only where the command cannot be started."""
    for number in (signal.SIGPIPE, signal.SIGXFSZ):
        signal.signal(number, signal.SIG_DFL)
    try:
        os.execvp(command[0], command)
    except OSError as error:
        print(f"{command[0]}: {error.strerror}", file=sys.stderr, flush=True)


def _look_in_time() -> None:
    """Ahead of any number of others that want the processor: as root, whom no limit of the kernel's
    binds, a fork bomb could keep us waiting for minutes. Others may not ask, and need not."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO | os.SCHED_RESET_ON_FORK, os.sched_param(1))
    except PermissionError:
        return


def _go_first() -> None:
    """Rather this than the database or the worker, if the machine runs out of memory."""
    with open("/proc/self/oom_score_adj", "r+") as score:
        if int(score.read()) < FIRST_TO_GO:
            score.seek(0)
            score.write(str(FIRST_TO_GO))


def _say(code: int, what: str) -> int:
    print(f"ended: {what}", file=sys.stderr, flush=True)
    return code


def _family(most: int = 0) -> tuple[list[int], int]:
    """All that descend from us, and their threads; no further once there are more than `most`."""
    family: list[int] = []
    left, tasks = _children(os.getpid(), str(os.getpid())), 0
    while left and not (most and tasks > most):
        pid = left.pop()
        try:
            threads = os.listdir(f"/proc/{pid}/task")
        except OSError:
            continue  # it has ended
        family.append(pid)
        tasks += len(threads)
        for thread in threads:
            left += _children(pid, thread)
    return family, tasks


def _children(pid: int, thread: str) -> list[int]:
    return [int(child) for child in _read(f"/proc/{pid}/task/{thread}/children").split()]


def _resident(pid: int) -> int:
    """kB in memory that no file gives back."""
    return _sum(_read(f"/proc/{pid}/status"), ("RssAnon:", "RssShmem:"))


def _own_share(pid: int) -> int:
    """The same with shared pages divided among those that hold them; slow for the kernel."""
    told = _read(f"/proc/{pid}/smaps_rollup")
    return _sum(told, ("Pss_Anon:", "Pss_Shmem:")) if told else _resident(pid)


def _sum(told: str, names: tuple[str, ...]) -> int:
    lines = (line.split() for line in told.splitlines())
    return sum(int(words[1]) for words in lines if words[0] in names)


def _read(path: str) -> str:
    """Empty for a process that has ended."""
    try:
        with open(path) as file:
            return file.read()
    except OSError:
        return ""


def _end_all(child: int) -> None:
    """Kills and reaps whatever is left, as often as something new is handed to us.

    The group first, in one stroke of the kernel's; with it goes the first process of a namespace,
    and with that one all others in there, however many they are.
    """
    _signal(-child, signal.SIGKILL)
    _signal(child, signal.SIGKILL)
    while _reap():
        for pid in _stopped():
            _signal(pid, signal.SIGKILL)


def _reap() -> bool:
    """Waits for one to end, and takes all that have; whether there may be more."""
    try:
        os.waitpid(-1, 0)
        while os.waitpid(-1, os.WNOHANG)[0]:
            continue
    except ChildProcessError:
        return False
    return True


def _stopped() -> set[int]:
    """The whole family, stopped first: what forks faster than we kill would never end."""
    stopped: set[int] = set()
    while new := set(_family()[0]) - stopped:
        for pid in new:
            _signal(pid, signal.SIGSTOP)
        stopped |= new
    return stopped


def _signal(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def end_as(status: int) -> None:
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
    bounds = float(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
    end_as(Keeper(int(sys.argv[1]), *bounds).keep(lambda: execute(sys.argv[5:])))
