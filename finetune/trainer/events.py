"""RUN_DIR/events.jsonl: what the training process says, one JSON object a line, never twice. Where
an attempt is made in another folder than the last, it begins with the metrics told before."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import ValidationError

from faults import OurFault
from finetune.events import CheckpointSaved, Message, StepDone
from finetune.trainer.state import StepMetrics

EventType = Literal["message", "metrics", "checkpoint"]


class EventLog:
    """Appends; `seq` goes on from what the file (or a restored checkpoint) already holds."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.seq = 0
        self.told: list[StepMetrics] = []  # that the file held when it was opened
        _cut_torn_line(path)
        if path.exists():
            for number, line in enumerate(path.read_bytes().splitlines(), 1):
                self._read(line, f"{path} line {number}")
        self.reported_step = self.told[-1].step if self.told else 0
        self._file = path.open("ab")

    def _read(self, line: bytes, where: str) -> None:
        try:
            event = json.loads(line)
            self.seq = event["seq"]
            if event["type"] == "metrics":
                self.told.append(StepMetrics.model_validate(event["data"]))
        except (ValueError, LookupError, TypeError, ValidationError) as error:
            raise events_changed(where) from error

    def say(self, message: Message, more: Mapping[str, Any] | None = None) -> None:
        """`more` are figures beside the message's own."""
        self._append("message", message, more)

    def metrics(self, data: dict[str, Any]) -> bool:
        """Once per step: a resumed run that computes a step again does not report it again, and is
        answered False."""
        if data["step"] <= self.reported_step:
            return False
        self.reported_step = data["step"]
        done = StepDone(step=data["step"], total_steps=data["total_steps"])
        self._append("metrics", done, data)
        return True

    def checkpoint(self, data: dict[str, Any], message: Message | None = None) -> None:
        """`message`: what it is called where it is no step's."""
        self._append("checkpoint", message or CheckpointSaved(step=data["step"]), data)
        self.sync()

    def sync(self) -> None:
        os.fsync(self._file.fileno())

    def close(self) -> None:
        self.sync()
        self._file.close()

    def _append(
        self, type_: EventType, message: Message, more: Mapping[str, Any] | None = None
    ) -> None:
        event = {
            "seq": self.seq + 1,
            "time": round(time.time(), 3),
            "type": type_,
        } | message.entry(more)
        line = json.dumps(event, ensure_ascii=False, allow_nan=False) + "\n"
        self._file.write(line.encode())
        self._file.flush()
        self.seq += 1


def events_changed(where: str) -> OurFault:
    return OurFault(
        "events_changed",
        "The run's events are not those that were told.",
        where=where,
        fix="Bring events.jsonl back as it was, or remove it and checkpoints/ to begin again.",
    )


def _cut_torn_line(path: Path) -> None:
    """A process killed while writing leaves half a line; the event was not said."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
