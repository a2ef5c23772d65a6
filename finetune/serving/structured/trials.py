"""Grammars tried in a process that can be ended, before this one compiles them."""

import json
import os
import subprocess
import sys
import weakref
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from itertools import count
from threading import Lock, Thread
from typing import Any

from faults import OurFault

_PATIENCE = 120.0  # seconds by the clock; the bound that counts is the processor's


@dataclass(frozen=True)
class Trial:
    """How compiling went: `killed` at its bounds, or with an `error` of the grammar's, or well, and
    then it took `kb` of memory."""

    killed: bool = False
    error: str | None = None
    kb: int = 0


class Trials:
    """Those of one tokenizer; may be asked from any thread, and several at a time. The process
    is started with the first, and again where it is gone."""

    def __init__(self, tokenizer: Callable[[], dict[str, Any]]) -> None:
        """`tokenizer`: as `compiler` reads it, told at each start."""
        self._tokenizer = tokenizer
        self._lock = Lock()
        self._running: _Running | None = None

    def run(self, source: str) -> Trial:
        """Raises OurFault `compiler_lost`."""
        for _ in range(2):  # who has been killed from outside is started again, once
            try:
                return self._begun(source).result(_PATIENCE)
            except (OSError, EOFError):
                continue
            except TimeoutError:
                break
        raise OurFault(
            "compiler_lost",
            "The process that reads schemas has ended.",
            fix="Try again in a moment.",
        )

    def _begun(self, source: str) -> "Future[Trial]":
        with self._lock:
            if self._running is None or self._running.gone:
                self._running = _Running(self._tokenizer())
                weakref.finalize(self, self._running.stop)
            return self._running.ask(source)


class _Running:
    def __init__(self, tokenizer: dict[str, Any]) -> None:
        # No variable of ours but where modules stand; signals sent to our group are not its own
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "finetune.serving.structured.compiler"],
            env={"PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._waiting: dict[int, Future[Trial]] = {}
        self._numbers = count()
        self._lock = Lock()
        self.gone = False
        self._write(tokenizer)
        Thread(target=self._listen, name="trials", daemon=True).start()

    def ask(self, source: str) -> "Future[Trial]":
        """Raises OSError where the process has ended."""
        number, answer = next(self._numbers), Future[Trial]()
        with self._lock:
            if self.gone:
                raise BrokenPipeError
            self._waiting[number] = answer
        try:
            self._write({"id": number, "source": source})
        except OSError:
            self.gone = True
            raise
        return answer

    def stop(self) -> None:
        self._process.kill()

    def _write(self, line: dict[str, Any]) -> None:
        assert self._process.stdin is not None
        self._process.stdin.write(json.dumps(line).encode() + b"\n")
        self._process.stdin.flush()

    def _listen(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            told = json.loads(line)
            with self._lock:
                answer = self._waiting.pop(told["id"])
            if "failed" in told:
                answer.set_exception(EOFError())
            else:
                killed = "killed" in told
                answer.set_result(Trial(killed, told.get("error"), told.get("kb", 0)))
        with self._lock:
            self.gone = True
            left = list(self._waiting.values())
        self._process.kill()
        self._process.wait()
        for answer in left:
            answer.set_exception(EOFError())
