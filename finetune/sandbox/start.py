"""Starts a module in a room, and ends it with all that it started."""

import logging
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any

from finetune.sandbox import warm
from finetune.sandbox.levels import Level, command, kept
from finetune.sandbox.room import Room
from finetune.sandbox.warm import Forked

log = logging.getLogger(__name__)

END_SECONDS = (
    10  # for the keeper to end all it keeps; then it is killed, and the kernel does the rest
)


@dataclass
class Child:
    """The keeper of a running process: its exit code is the process's own."""

    process: "subprocess.Popen[bytes] | Forked"
    lifeline: int  # the end we hold; closing it ends the process
    asked_at: float | None = field(default=None)  # when it was asked to yield, monotonic seconds

    def poll(self) -> int | None:
        return self.process.poll()

    def ask_to_yield(self) -> None:
        """SIGTERM, once: a training checkpoints and exits with 75 within a step."""
        if self.asked_at is None:
            self.asked_at = time.monotonic()
            with suppress(ProcessLookupError):
                self.process.terminate()

    def asked_for_longer_than(self, seconds: float) -> bool:
        return self.asked_at is not None and time.monotonic() - self.asked_at > seconds

    def kill(self) -> None:
        """Ends the process and all that it started; returns when they are gone. Again: nothing."""
        if self.lifeline >= 0:
            os.close(self.lifeline)
            self.lifeline = -1
        try:
            self.process.wait(END_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()

    def stop(self, grace: float) -> None:
        """SIGTERM, and SIGKILL when it is not gone after `grace` seconds."""
        self.ask_to_yield()
        try:
            self.process.wait(grace)
        except subprocess.TimeoutExpired:
            log.warning("%s ignored SIGTERM for %s s and is killed", self.process.pid, grace)
        self.kill()


@dataclass
class Executed(Child):
    process: "subprocess.Popen[bytes]"


def start(
    level: Level,
    room: Room,
    module: str,
    arguments: list[str],
    *,
    cwd: Path,
    environment: dict[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: "IO[Any] | int" = subprocess.PIPE,
    stderr: "IO[Any] | int" = subprocess.STDOUT,
) -> Executed:
    """`python -m module arguments`, with exactly that environment."""
    with _lifeline() as (theirs, ours):
        # Asked to yield before the keeper listens: the signal waits for it
        before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
        try:
            process = subprocess.Popen(
                kept(command(level, room, module, arguments, cwd=cwd), room, lifeline=theirs),
                cwd=cwd,
                env=environment,
                stdin=stdin,
                stdout=stdout,
                stderr=stderr,
                pass_fds=(theirs,),
                start_new_session=True,
            )
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return Executed(process, ours)


def start_loaded(
    level: Level,
    room: Room,
    module: str,
    arguments: list[str],
    *,
    loaded: tuple[str, ...],
    cwd: Path,
    environment: dict[str, str],
    stdin: int = subprocess.DEVNULL,
    stdout: "IO[Any]",
    stderr: "IO[Any] | int" = subprocess.STDOUT,
) -> Child:
    """The same for what needs the modules `loaded`, which take long: forked from a process that
    has them, where that can be (`warm.py`). Its streams are files, and no pipes of ours."""
    if warm.can_fork(level):
        line = [module, *arguments]
        asked = warm.request(level, room, line, cwd=cwd, environment=environment)
        try:
            with _lifeline() as (theirs, ours), open(os.devnull, "rb") as nothing:
                streams = (
                    nothing.fileno() if stdin == subprocess.DEVNULL else stdin,
                    stdout.fileno(),
                    _number(stdout if stderr == subprocess.STDOUT else stderr),
                )
                return Child(warm.ZYGOTES.fork(loaded, asked, theirs, streams), ours)
        except warm.ZygoteLost as error:  # slower, and no other
            log.warning("%s loads for itself: %s", module, error)
    return start(
        level,
        room,
        module,
        arguments,
        cwd=cwd,
        environment=environment,
        stdin=stdin,
        stdout=stdout,
        stderr=stderr,
    )


@contextmanager
def _lifeline() -> Iterator[tuple[int, int]]:
    """The child's end, for as long as it is started, and ours, which stays."""
    theirs, ours = os.pipe()
    try:
        yield theirs, ours
    except BaseException:
        os.close(ours)
        raise
    finally:
        os.close(theirs)


def _number(stream: "IO[Any] | int") -> int:
    return stream if isinstance(stream, int) else stream.fileno()
