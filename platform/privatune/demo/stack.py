"""The stack as the demo sees it: a process to start and stop, and the operator's commands."""

import json
import os
import shutil
import signal
import subprocess
import sys
import threading
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

    def base_folder(self, digest: str) -> Path:
        """Where the model store keeps the base with this digest, sha256:<hex>."""
        store = Path(os.environ.get("PRIVATUNE_MODELS") or self.data / "models")
        return store / digest.removeprefix("sha256:")

    def operate(self, *words: str) -> Any:
        """An operator command, in a process of its own. Returns its JSON."""
        return self.begin(*words)()

    def begin(self, *words: str) -> "Operation":
        return Operation([*COMMAND, *words, "--data", str(self.data), "--json"])


class Operation:
    """A command that runs beside us until it is called for its result; meanwhile `newest` is the
    last line that it said of its progress."""

    def __init__(self, command: list[str]) -> None:
        self._command = command
        self._process = subprocess.Popen(
            command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        self._said: list[str] = []
        self._listener = threading.Thread(target=self._listen, name="operation", daemon=True)
        self._listener.start()

    @property
    def newest(self) -> str:
        return self._said[-1] if self._said else "starting"

    def _listen(self) -> None:
        assert self._process.stderr is not None
        with self._process.stderr as lines:
            for line in lines:
                self._said.append(line.rstrip())

    def __call__(self) -> Any:
        assert self._process.stdout is not None
        with self._process.stdout as output:
            out = output.read()
        self._listener.join()
        if self._process.wait() != 0:
            words = " ".join(self._command[len(COMMAND) :])
            said = "\n".join(self._said).strip()
            raise DemoFailed(f"`privatune {words}` failed:\n{said}")
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
            [
                *(*COMMAND, "up", "--data", str(data), "--port", str(free_port())),
                *("--no-samples", "--json"),  # the demo brings its own
            ],
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

    def newest(self) -> str:
        """The last line that the stack said of its progress."""
        return (self._lines() or ["starting"])[-1]

    def last_words(self) -> str:
        return "\n".join(self._lines()[-15:])

    def _lines(self) -> list[str]:
        return self._log.read_text(encoding="utf-8", errors="replace").splitlines()


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
