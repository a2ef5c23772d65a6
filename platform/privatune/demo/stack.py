"""The stack as the demo sees it: a process to start and stop, and the operator's commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privatune.stack.folder import FolderLock, StackError, free_port

STOP_SECONDS = 90
COMMAND = [sys.executable, "-m", "privatune.cli"]


class DemoFailed(Exception):
    """The demo cannot go on; the message is the cause, for people."""


@dataclass(frozen=True)
class Stack:
    """`first` is the line that `privatune up --json` printed when it was ready."""

    data: Path
    first: dict[str, Any]

    @property
    def base_url(self) -> str:
        return str(self.first["base_url"])

    def operate(self, *words: str) -> Any:
        """An operator command, in a process of its own. Returns its JSON."""
        return self.begin(*words)()

    def begin(self, *words: str) -> "Operation":
        return Operation([*COMMAND, *words, "--data", str(self.data), "--json"])


class Operation:
    """A command that runs beside us until it is called for its result."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )

    def __call__(self) -> Any:
        out, said = self._process.communicate()
        if self._process.returncode != 0:
            words = " ".join(self._command[len(COMMAND) :])
            raise DemoFailed(f"`privatune {words}` failed:\n{said.strip()}")
        return json.loads(out)


def clear(data: Path) -> None:
    """Removes an earlier demo's data: a run broken off there would go on beside the new one.

    Raises DemoFailed when a stack still runs on it.
    """
    if not data.exists():
        return
    try:
        lock = FolderLock(data)
    except StackError as error:
        raise DemoFailed(str(error)) from error
    shutil.rmtree(data)
    lock.release()


@contextmanager
def running_stack(data: Path, log: Path) -> Iterator["Starting"]:
    """Starts `privatune up`; when the block ends, however it ends, everything is stopped."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("wb") as errors:
        process = subprocess.Popen(
            [*COMMAND, "up", "--data", str(data), "--port", str(free_port()), "--json"],
            stdout=subprocess.PIPE,
            stderr=errors,
            text=True,
            start_new_session=True,  # Ctrl-C reaches the demo only, which stops the stack in order
        )
    try:
        yield Starting(process, data, log)
    finally:
        _stop(process)


class Starting:
    """A stack on its way up."""

    def __init__(self, process: "subprocess.Popen[str]", data: Path, log: Path) -> None:
        self._process = process
        self._data = data
        self._log = log

    def ready(self) -> Stack:
        """Waits for the line that says so."""
        if self._process.stdout is None:
            raise DemoFailed("the stack's output is not ours to read")
        line = self._process.stdout.readline()
        if not line:
            raise DemoFailed(f"The stack did not start.\n{self.last_words()}")
        return Stack(self._data, json.loads(line))

    def last_words(self) -> str:
        lines = self._log.read_text(encoding="utf-8", errors="replace").splitlines()
        return "\n".join(lines[-15:])


def _stop(process: "subprocess.Popen[str]") -> None:
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    if process.stdout is not None:
        process.stdout.close()
