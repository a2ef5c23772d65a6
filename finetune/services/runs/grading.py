"""Does beside a training what its grader needs and the training process, which holds the weights,
must not: runs Python in a sandbox of its own, and asks models that judge. It is asked in
RUN_DIR/grading (trainer/rewards.py)."""

import json
import logging
import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

from django.db import Error as DatabaseError
from django.db import connections

from faults import Fault, OurFault, UserFault
from faults.nesting import NO_JSON
from finetune.grading import specs
from finetune.grading.python_grader import run_on_all
from finetune.sandbox.levels import Level
from finetune.sandbox.start import Child
from finetune.services.runs.judging import Judging
from finetune.trainer.rewards import ASKED, FOLDER, TOLD, sources_of
from finetune.trainer.spec import RunSpec
from finetune.work.signals import Stopped

log = logging.getLogger(__name__)

LOOK_SECONDS = 0.05
SECONDS = 600  # for all answers of a step
LARGEST = 256 << 20  # bytes of what is asked at once


@contextmanager
def kept(
    run_dir: Path, spec: RunSpec, level: Level, judging: Judging | None = None
) -> "Iterator[Keeper | None]":
    """While the training runs; None where its grader has no Python and asks no model."""
    sources = sources_of(specs.GRADER.validate_python(spec.grader)) if spec.grader else []
    if not sources and judging is None:
        yield None
        return
    folder = run_dir / FOLDER
    folder.mkdir()
    keeper = Keeper(folder, sources, level, judging)
    thread = threading.Thread(target=keeper.work, name="grading", daemon=True)
    thread.start()
    try:
        yield keeper
    finally:
        keeper.end()
        thread.join()


class Keeper:
    def __init__(
        self, folder: Path, sources: list[str], level: Level, judging: Judging | None = None
    ) -> None:
        # What the training process makes of the folder's name afterwards is no matter
        self._folder = os.open(folder, os.O_DIRECTORY | os.O_NOFOLLOW)
        self._sources, self._level, self._judging = sources, level, judging
        self._ended = threading.Event()
        self._lock = threading.Lock()
        self._child: Child | None = None
        self._broken: Exception | None = None

    def work(self) -> None:
        try:
            while not self._ended.wait(LOOK_SECONDS):
                for name in sorted(os.listdir(self._folder)):
                    if name.endswith(ASKED) and not name.startswith("."):
                        self._answer(name)
        except Stopped:
            log.info("a training ended while its answers were graded")
        except (OSError, *NO_JSON, KeyError, TypeError, Fault, DatabaseError) as error:
            log.exception("the answers of a training are not graded any more")
            self._broken = error
        finally:
            os.close(self._folder)
            connections.close_all()  # this thread's own

    def require(self) -> None:
        """Raises Fault where nobody answers any more: the training would wait for ever."""
        if isinstance(self._broken, Fault):
            raise self._broken
        if self._broken is not None:
            said = f"The grader cannot be run: {self._broken}"
            raise OurFault("grader_unavailable", said) from self._broken

    def end(self) -> None:
        """Nothing is started any more, and what runs is ended."""
        with self._lock:
            self._ended.set()
            if self._child is not None:
                self._child.kill()

    def _answer(self, name: str) -> None:
        samples = self._take(name)
        asked = [(each["sample"], each["item"]) for each in samples]
        told = []
        for source in self._sources:
            ran = run_on_all(
                source, asked, level=self._level, seconds=SECONDS, started=self._started
            )
            told.append([list(asdict(each).values()) for each in ran])
        if self._judging is not None:
            told += self._judging.told(asked, self._still)
        if not self._ended.is_set():
            self._tell(name.removesuffix(ASKED) + TOLD, told)

    def _still(self) -> None:
        if self._ended.is_set():
            raise Stopped

    def _take(self, name: str) -> list[dict[str, Any]]:
        """What is asked, once."""
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=self._folder)
        with open(file, "rb") as opened:
            written = opened.read(LARGEST + 1)
        os.unlink(name, dir_fd=self._folder)
        if len(written) > LARGEST:
            raise UserFault(
                "too_much_to_grade",
                f"A step's answers, with their rows, hold more than {LARGEST >> 20} MB.",
                param="method.reinforcement.grader",
                fix="Lower batch_size or num_generations, or shorten the rows: each answer is "
                "graded with the whole of its row.",
            )
        found: list[dict[str, Any]] = json.loads(written)["samples"]
        return found

    def _started(self, child: Child) -> None:
        with self._lock:
            self._child = child
            if self._ended.is_set():
                child.kill()

    def _tell(self, name: str, told: list[Any]) -> None:
        part = f".{name}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
        with open(os.open(part, flags, 0o600, dir_fd=self._folder), "w", encoding="utf-8") as file:
            json.dump(told, file)
        os.replace(part, name, src_dir_fd=self._folder, dst_dir_fd=self._folder)
