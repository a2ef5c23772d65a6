"""A process that has loaded what others need, and forks them: seconds sooner than an `exec`.

    python -P -B -m finetune.sandbox.zygote DOOR SPARE MODULES...

Each of MODULES is imported; of `module:function` the function is called then. DOOR is the
descriptor of a socket. Each message on it brings a socket of its own: there the zygote
tells {"pid"} with a descriptor of the process that it has forked, or {"error"}, and, when that has
ended, its wait status. The forked one reads from there what it is to become, a `Request` with the
descriptors named in HANDED: the keeper of a module. SPARE is room for names in the process list.

It is started for one worker, with what its children's environments have in common, and never sees
what they are given, not even its name: what it hands on by forking is code. It ends when the worker
closes the door, after the last of its children.
"""

import ctypes
import gc
import importlib
import json
import os
import resource
import select
import signal
import socket
import sys
import tempfile
import traceback
from contextlib import suppress
from functools import partial
from typing import Any, NoReturn, TypedDict, cast

from finetune.sandbox import inside, keeper, namespaces

HANDED = ("lifeline", "stdin", "stdout", "stderr")
MOST_BYTES = 1 << 18  # of a message
LIFELINE = 3  # where a child has it
STOPS = (signal.SIGTERM, signal.SIGINT)


class Request(TypedDict):
    environment: dict[str, str]  # the whole of it
    cwd: str
    rlimits: dict[str, int]  # the worker's own of now, which an exec would pass on
    bounds: tuple[float, int, int]  # the keeper's: seconds, tasks, MB of memory
    room: dict[str, Any] | None  # of namespaces.py; None: without namespaces
    inside: list[str]  # limits, module, arguments


class Zygote:
    def __init__(self, door: socket.socket) -> None:
        self.door = door
        self.children: dict[int, socket.socket] = {}  # pid: where to say how it ended
        self.woken, self.waker = os.pipe()
        for end in (self.woken, self.waker):
            os.set_blocking(end, False)

    def serve(self) -> None:
        signal.set_wakeup_fd(self.waker, warn_on_full_buffer=False)
        signal.signal(signal.SIGCHLD, lambda *_: None)
        while self.door.fileno() >= 0 or self.children:
            door = self.door.fileno()  # -1 when it is closed
            ready, _, _ = select.select([end for end in (self.woken, door) if end >= 0], [], [])
            if self.woken in ready:
                os.read(self.woken, 4096)
            self._reap()
            if door in ready:
                self._answer()

    def _reap(self) -> None:
        while self.children:
            pid, status = os.waitpid(-1, os.WNOHANG)
            if not pid:
                return
            with self.children.pop(pid) as asker, suppress(BrokenPipeError):
                asker.send(str(status).encode())  # unless nobody asks any more

    def _answer(self) -> None:
        _, handed, _, _ = socket.recv_fds(self.door, 1, 1)
        if not handed:
            self.door.close()
            return
        asker = socket.socket(fileno=handed[0])
        try:
            pid = self._fork(asker)
        except OSError as error:
            with asker:
                asker.send(json.dumps({"error": error.strerror}).encode())
            return
        self.children[pid] = asker
        # Before it is reaped: its number cannot be another's yet
        handle = os.pidfd_open(pid)
        with suppress(BrokenPipeError):  # the worker is gone; the child sees it by its lifeline
            socket.send_fds(asker, [json.dumps({"pid": pid}).encode()], [handle])
        os.close(handle)

    def _fork(self, asker: socket.socket) -> int:
        zygote = os.getpid()
        pid = os.fork()
        if pid:
            return pid
        try:
            # Killed with the zygote, and by the kernel all that it keeps
            ctypes.CDLL(None).prctl(keeper.PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
            if os.getppid() == zygote:
                _become_keeper(self._taken(asker))
        except BaseException:
            traceback.print_exc()
        os._exit(127)

    def _taken(self, asker: socket.socket) -> Request:
        """What the child keeps open is its own standard streams and its lifeline."""
        signal.set_wakeup_fd(-1)
        text, handed, _, _ = socket.recv_fds(asker, MOST_BYTES, len(HANDED))
        if not text:
            os._exit(127)  # the worker is gone
        for each in (self.door, asker, *self.children.values()):
            each.detach()  # or they would close what has their number later
        for number, end in enumerate(handed[1:]):
            os.dup2(end, number)  # none of them is among these: they are open here
        os.dup2(handed[0], LIFELINE)
        os.closerange(LIFELINE + 1, os.sysconf("SC_OPEN_MAX"))
        return cast(Request, json.loads(text))


def _become_keeper(request: Request) -> NoReturn:
    os.setsid()
    os.environ.clear()
    os.environ.update(request["environment"])
    os.chdir(request["cwd"])
    for number, value in request["rlimits"].items():
        hard = resource.getrlimit(int(number))[1]
        resource.setrlimit(int(number), (value, hard))
    _name("keeper.py", *request["inside"][1:])
    run = partial(_run, request["inside"])
    room = request["room"]
    become = run if room is None else partial(namespaces.run, room, run)
    kept = keeper.Keeper(LIFELINE, *request["bounds"])
    keeper.end_as(kept.keep(partial(_leave_keeper, become)))
    os._exit(127)


def _leave_keeper(become: Any) -> None:
    """An exec would have closed the keeper's descriptors and taken its handlers down."""
    signal.set_wakeup_fd(-1)
    for number in (*STOPS, signal.SIGCHLD):
        signal.signal(number, signal.SIG_DFL)
    tells = int(os.environ["SANDBOX_READY"])
    os.closerange(LIFELINE, tells)
    os.closerange(tells + 1, os.sysconf("SC_OPEN_MAX"))
    become()


def _run(line: list[str]) -> NoReturn:
    """`python -m finetune.sandbox.inside LINE`, here."""
    signal.signal(signal.SIGINT, signal.default_int_handler)
    tempfile.tempdir = None  # found for another, where it was asked for already
    _name(sys.executable, "-P", "-m", *line[1:])
    _use_threads()
    code = 1
    try:
        inside.main(["", *line])
        code = 0
    except SystemExit as end:
        code = _code_of(end)
    except BaseException:
        traceback.print_exc()
    finally:
        for stream in (sys.stdout, sys.stderr):
            with suppress(OSError, ValueError):  # a reader that has gone, a stream it closed
                stream.flush()
        os._exit(code)


def _use_threads() -> None:
    """OpenMP has read their number as it was loaded, for all that are forked."""
    threads, torch = os.environ.get("OMP_NUM_THREADS"), sys.modules.get("torch")
    if threads and torch:
        torch.set_num_threads(int(threads))


def _code_of(end: SystemExit) -> int:
    """As the interpreter has it."""
    if end.code is None or isinstance(end.code, int):
        return (end.code or 0) & 0xFF
    print(end.code, file=sys.stderr)
    return 1


def _name(*words: str) -> None:
    """How the list of processes shows this one: written over its arguments in memory, as far as
    they go. Where their last byte is not 0, the kernel takes them for one text (proc(5))."""
    with open("/proc/self/stat", "rb") as stat:
        start, end = map(int, stat.read().rpartition(b")")[2].split()[45:47])
    room = end - start - 1
    text = os.fsencode(" ".join(words))[: room - 1]
    ctypes.memmove(start, text.ljust(room, b"\0") + b"-", room + 1)


def _load(modules: list[str]) -> None:
    """They make a million objects that stay: none of them is garbage, and a child that looked for
    it among them would copy every page."""
    gc.disable()
    for each in modules:
        name, _, function = each.partition(":")
        module = importlib.import_module(name)
        if function:
            getattr(module, function)()
    gc.freeze()
    gc.enable()


def main(argv: list[str]) -> None:
    # A terminal or a service manager may signal all processes: the children know what to do then
    signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)
    door = socket.socket(fileno=int(argv[1]))
    _load(argv[3:])
    Zygote(door).serve()


if __name__ == "__main__":
    main(sys.argv)
