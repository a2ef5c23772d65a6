"""RUN_DIR/events.jsonl: what the training process says, one JSON object a line, never twice."""

import json
import os
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from finetune.events import CheckpointSaved, Message, StepDone

EventType = Literal["message", "metrics", "checkpoint"]


class EventLog:
    """Appends; `seq` goes on from what the file (or a restored checkpoint) already holds."""

    def __init__(self, path: Path) -> None:
        self.seq = 0
        self.reported_step = 0  # the last step whose metrics are in the file
        _cut_torn_line(path)
        if path.exists():
            for line in path.read_bytes().splitlines():
                event = json.loads(line)
                self.seq = event["seq"]
                if event["type"] == "metrics":
                    self.reported_step = event["data"]["step"]
        self._file = path.open("ab")

    def say(self, message: Message, more: Mapping[str, Any] | None = None) -> None:
        """`more` are figures beside the message's own."""
        self._append("message", message, more)

    def metrics(self, data: dict[str, Any]) -> None:
        """Once per step: a resumed run that computes a step again does not report it again."""
        if data["step"] <= self.reported_step:
            return
        self.reported_step = data["step"]
        done = StepDone(step=data["step"], total_steps=data["total_steps"])
        self._append("metrics", done, data)

    def checkpoint(self, data: dict[str, Any]) -> None:
        self._append("checkpoint", CheckpointSaved(step=data["step"]), data)
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


def _cut_torn_line(path: Path) -> None:
    """A process killed while writing leaves half a line; the event was not said."""
    if not path.exists():
        return
    content = path.read_bytes()
    whole = content.rfind(b"\n") + 1
    if whole < len(content):
        os.truncate(path, whole)
