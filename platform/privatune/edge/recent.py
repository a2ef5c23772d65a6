"""What was seen to be true a moment ago, so that it need not be asked again for a while."""

import time
from collections import OrderedDict
from typing import Generic, TypeVar

Name = TypeVar("Name")
Value = TypeVar("Value")

MOST = 10_000  # kept; the one longest unseen is forgotten


class Recent(Generic[Name, Value]):
    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._seen: OrderedDict[Name, tuple[Value, float]] = OrderedDict()

    def __len__(self) -> int:
        return len(self._seen)

    def put(self, name: Name, value: Value) -> None:
        self._seen[name] = value, time.monotonic() + self._seconds
        self._seen.move_to_end(name)
        if len(self._seen) > MOST:
            self._seen.popitem(last=False)

    def get(self, name: Name) -> Value | None:
        value, until = self._seen.get(name, (None, 0.0))
        return value if until > time.monotonic() else None

    def drop(self, name: Name) -> None:
        self._seen.pop(name, None)
