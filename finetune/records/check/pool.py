"""Work on parts of a file by several processes, its results in the file's order.

Each is forked from the one that has everything loaded, and ends with it. One that dies takes the
whole with it by the same signal, so that whoever started the check sees why it ended.
"""

import multiprocessing
import pickle
import signal
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any, Generic, NoReturn, TypeVar, cast

from faults import Fault, OurFault, from_dict
from finetune.lifeline import die_with_parent

# How allocators say that they got nothing: Rust (tokenizers), C++ (Arrow, torch), Python
OUT_OF_MEMORY = ("memory allocation of", "bad_alloc", "MemoryError", "out of memory", "malloc")
AHEAD = 3  # parts for each process that may be under way or wait for their turn

Part = TypeVar("Part")
Result = TypeVar("Result")


class Pool(Generic[Part, Result]):
    """`count` processes that do `work`. Used as a context, which ends them."""

    def __init__(self, work: Callable[[Part], Result], count: int) -> None:
        context = multiprocessing.get_context("fork")
        self._processes, self._pipes = [], list[Connection]()
        for _ in range(count):
            ours, theirs = context.Pipe()
            process = context.Process(target=_serve, args=(work, theirs), daemon=True)
            process.start()
            theirs.close()
            self._processes.append(process)
            self._pipes.append(ours)

    def __enter__(self) -> "Pool[Part, Result]":
        return self

    def __exit__(self, *_: object) -> None:
        for process in self._processes:
            process.kill()
            process.join()

    def in_order(self, parts: Iterable[Part]) -> Iterator[tuple[Part, Result]]:
        """Each part and what became of it. Raises what the work raised: a Fault, MemoryError, or
        OurFault `check_crashed`."""
        source, more = iter(parts), True
        idle = list(self._pipes)
        busy: dict[Connection, int] = {}
        parts_: dict[int, Part] = {}
        done: dict[int, tuple[str, Any]] = {}
        sent = told = 0
        while True:
            while idle and more and sent - told < AHEAD * len(self._pipes):
                try:
                    part = next(source)
                except StopIteration:
                    more = False
                    break
                pipe = idle.pop()
                self._send(pipe, part)
                busy[pipe], parts_[sent] = sent, part
                sent += 1
            if told in done:
                yield parts_.pop(told), self._result(*done.pop(told))
                told += 1
            elif busy:
                for pipe in cast(list[Connection], wait(list(busy))):
                    done[busy.pop(pipe)] = self._receive(pipe)
                    idle.append(pipe)
            elif not more:
                return

    def _send(self, pipe: Connection, part: Part) -> None:
        try:
            pipe.send_bytes(pickle.dumps(part))
        except OSError:
            self._die_as(pipe)

    def _receive(self, pipe: Connection) -> tuple[str, Any]:
        try:
            answer: tuple[str, Any] = pickle.loads(pipe.recv_bytes())  # noqa: S301 - of our own making
        except (EOFError, OSError):
            self._die_as(pipe)
        return answer

    def _result(self, how: str, what: Any) -> Result:
        """What a part raised is raised in its turn: which one is told does not hang on the race."""
        if how == "done":
            result: Result = what
            return result
        if how == "memory":
            raise MemoryError
        raise from_dict(what)

    def _die_as(self, pipe: Connection) -> NoReturn:
        process = self._processes[self._pipes.index(pipe)]
        process.join()
        code = process.exitcode or 0
        if code < 0:
            signal.signal(-code, signal.SIG_DFL) if -code != signal.SIGKILL else None
            signal.raise_signal(-code)
        raise OurFault("check_crashed", f"The check failed: a part ended with exit code {code}.")


def _serve(work: Callable[[Any], Any], pipe: Connection) -> None:
    die_with_parent()
    while True:
        try:
            part = pickle.loads(pipe.recv_bytes())  # noqa: S301 - of our own making
        except EOFError:
            return
        pipe.send_bytes(pickle.dumps(_answer(work, part)))


def _answer(work: Callable[[Any], Any], part: Any) -> tuple[str, Any]:
    try:
        return "done", work(part)
    except Fault as fault:
        return "fault", fault.as_dict()
    except MemoryError:
        return "memory", None
    except Exception as error:
        if any(words in str(error) for words in OUT_OF_MEMORY):
            return "memory", None
        crashed = OurFault("check_crashed", f"The check failed: {place_of(error)}.")
        return "fault", crashed.as_dict()


def place_of(error: Exception) -> str:
    """Type and line of code: what the exception says may quote a row."""
    last = traceback.extract_tb(error.__traceback__)[-1]
    return f"{type(error).__name__} in {Path(last.filename).name}:{last.lineno}"
