"""The worker's side of `zygote.py`: which zygotes there are, and a process that one of them forked.

One is kept for what children load and the environment they have (but for the folders and the number
of threads that are theirs), three at most.
"""

import json
import logging
import os
import resource
import select
import signal
import socket
import subprocess
import sys
import threading
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from finetune.sandbox.levels import Level, limits, namespaced
from finetune.sandbox.room import Room, devices
from finetune.sandbox.zygote import HANDED, Request

log = logging.getLogger(__name__)

MOST = 3
OWN = ("HOME", "TMPDIR", "OMP_NUM_THREADS")  # a child's own variables
LOAD_SECONDS = 600  # the slowest machine loads in less than a minute
ANSWER_SECONDS = 30  # of a zygote that has loaded: a fork, or to say how a child ended, takes none
SPARE = "-" * 1024  # for names in the process list
RLIMITS = [getattr(resource, name) for name in dir(resource) if name.startswith("RLIMIT_")]
LOST = "the process that forks others has ended, or stands still"
GONE = (BrokenPipeError, ConnectionResetError, TimeoutError)

Key = tuple[tuple[str, ...], frozenset[tuple[str, str]]]


class Forked:
    """As much of `subprocess.Popen` as a `Child` asks for; its parent is the zygote."""

    def __init__(self, pid: int, handle: int, teller: socket.socket) -> None:
        self.pid = pid
        self.returncode: int | None = None
        self._handle = handle  # a pidfd: never another that has got its number
        self._teller = teller

    def poll(self) -> int | None:
        with suppress(subprocess.TimeoutExpired):
            self.wait(0)
        return self.returncode

    def wait(self, timeout: float | None = None) -> int:
        """Raises subprocess.TimeoutExpired."""
        if self.returncode is None:
            if not _readable((self._teller.fileno(), self._handle), timeout):
                raise subprocess.TimeoutExpired(f"pid {self.pid}", timeout or 0)
            self.returncode = self._ended()
            os.close(self._handle)
        return self.returncode

    def _ended(self) -> int:
        told = b""
        with self._teller:
            # Or the zygote stands still: how this ended is not known
            if _readable((self._teller.fileno(),), ANSWER_SECONDS):
                told = self._teller.recv(16)
        if told:
            return os.waitstatus_to_exitcode(int(told))
        self.kill()  # the zygote was killed, and the kernel kills its children
        _readable((self._handle,), None)
        return -signal.SIGKILL

    def terminate(self) -> None:
        self._send(signal.SIGTERM)

    def kill(self) -> None:
        self._send(signal.SIGKILL)

    def _send(self, number: int) -> None:
        if self.returncode is None:
            with suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._handle, number)

    def __del__(self) -> None:
        if self.returncode is None:
            os.close(self._handle)


class Zygote:
    """Raises OSError where it cannot be started."""

    def __init__(self, modules: Sequence[str], environment: Mapping[str, str]) -> None:
        self.door, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self._patience = LOAD_SECONDS
        with theirs:
            line = [
                sys.executable,
                "-P",
                "-B",
                "-m",
                "finetune.sandbox.zygote",
                str(theirs.fileno()),
            ]
            self.process = subprocess.Popen(
                [*line, SPARE, *modules],
                cwd="/",
                # Threads that a library starts as it loads are in none of the forked
                env={**environment, "OMP_NUM_THREADS": "1"},
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                pass_fds=(theirs.fileno(),),
                start_new_session=True,
            )
        log.info("zygote %s loads %s", self.process.pid, ", ".join(modules))

    def fork(self, request: Request, lifeline: int, streams: Sequence[int]) -> Forked:
        """Raises ZygoteLost, and OSError where the machine has no room for one process more."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        ours.settimeout(self._patience)
        try:
            with theirs:
                self.door.settimeout(self._patience)
                socket.send_fds(self.door, [b"!"], [theirs.fileno()])
            text, handles, _, _ = socket.recv_fds(ours, 4096, 1)
            if not text:
                raise ZygoteLost(LOST)
            self._patience = ANSWER_SECONDS
            told = json.loads(text)
            if "error" in told:
                raise OSError(told["error"])
            process = Forked(told["pid"], handles[0], ours)
        except BaseException as error:
            ours.close()
            if isinstance(error, GONE) or self.door.fileno() < 0:  # left by another thread
                raise ZygoteLost(LOST) from error
            raise
        with suppress(BrokenPipeError, ConnectionResetError):  # it has died: its end says so
            handed = [lifeline, *streams]
            assert len(handed) == len(HANDED)
            socket.send_fds(ours, [json.dumps(request).encode()], handed)
        return process

    def leave(self) -> None:
        """It ends after the last of its children."""
        self.door.close()


class ZygoteLost(Exception):
    """It could not load its modules, or somebody ended or stopped it."""


class Zygotes:
    def __init__(self) -> None:
        self._kept: OrderedDict[Key, Zygote] = OrderedDict()
        self._leaving: list[Zygote] = []
        self._lock = threading.Lock()

    def forget(self) -> None:
        """After a fork of the worker: they belong to the one that started them."""
        self.__init__()  # type: ignore[misc]

    def fork(
        self,
        modules: tuple[str, ...],
        request: Request,
        lifeline: int,
        streams: Sequence[int],
    ) -> Forked:
        """By the zygote that is kept for such children, or a new one. Raises as Zygote.fork."""
        shared = {k: v for k, v in request["environment"].items() if k not in OWN}
        key = modules, frozenset(shared.items())
        with suppress(ZygoteLost):  # somebody may have ended the one that is kept
            return self._forked(key, shared, request, lifeline, streams)
        return self._forked(key, shared, request, lifeline, streams)

    def _forked(
        self,
        key: Key,
        shared: Mapping[str, str],
        request: Request,
        lifeline: int,
        streams: Sequence[int],
    ) -> Forked:
        """One that does not answer holds up those alone who wait for it."""
        with self._lock:
            zygote = self._of(key, shared)
        try:
            return zygote.fork(request, lifeline, streams)
        except ZygoteLost:
            with self._lock:
                if self._kept.get(key) is zygote:
                    self._drop(key)
            raise

    def _of(self, key: Key, environment: Mapping[str, str]) -> Zygote:
        if key not in self._kept:
            self._kept[key] = Zygote(key[0], environment)
            if len(self._kept) > MOST:
                self._drop(next(iter(self._kept)))
        self._kept.move_to_end(key)
        return self._kept[key]

    def _drop(self, key: Key) -> None:
        zygote = self._kept.pop(key)
        zygote.leave()
        self._leaving = [each for each in [*self._leaving, zygote] if each.process.poll() is None]


ZYGOTES = Zygotes()
os.register_at_fork(after_in_child=ZYGOTES.forget)


def can_fork(level: Level) -> bool:
    """bubblewrap executes what it wraps. Beside a GPU nobody has tried yet whether CUDA starts in
    a fork of a process that has loaded torch."""
    return level is not Level.BUBBLEWRAP and not devices()


def request(
    level: Level, room: Room, line: Sequence[str], *, cwd: Path, environment: Mapping[str, str]
) -> Request:
    """`python -m LINE` in the room."""
    return {
        "environment": dict(environment),
        "cwd": str(cwd),
        "rlimits": {str(number): resource.getrlimit(number)[0] for number in RLIMITS},
        "bounds": room.bounds(),
        "room": namespaced(room, cwd) if level is Level.NAMESPACES else None,
        "inside": [limits(level, room), *line],
    }


def _readable(ends: Sequence[int], timeout: float | None) -> bool:
    """One of them, within so many seconds; None: however long it takes."""
    poll = select.poll()
    for end in ends:
        poll.register(end, select.POLLIN)
    return bool(poll.poll(None if timeout is None else timeout * 1000))
