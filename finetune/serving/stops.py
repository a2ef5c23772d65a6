"""Holding back text that may turn out to be a stop sequence or the start of a marker."""

from dataclasses import dataclass, field


def held_suffix(text: str, needles: list[str]) -> int:
    """Characters at the end of `text` that begin, but do not complete, one of `needles`."""
    longest = max((len(needle) for needle in needles), default=0)
    for size in range(min(len(text), longest - 1), 0, -1):
        tail = text[-size:]
        if any(needle.startswith(tail) for needle in needles):
            return size
    return 0


def first_match(text: str, needles: list[str]) -> int | None:
    """Where the earliest of `needles` begins in `text`."""
    found = [at for needle in needles if (at := text.find(needle)) >= 0]
    return min(found, default=None)


@dataclass
class StopWatch:
    """Passes text through until a stop sequence, of which nothing is ever shown."""

    stops: list[str]
    stopped: bool = False
    _held: str = field(default="", init=False)

    def push(self, text: str) -> str:
        """The text that is now safe to show; sets `stopped` when a sequence was met."""
        pending = self._held + text
        at = first_match(pending, self.stops)
        if at is not None:
            self.stopped = True
            self._held = ""
            return pending[:at]
        keep = held_suffix(pending, self.stops)
        self._held = pending[len(pending) - keep :]
        return pending[: len(pending) - keep]

    def flush(self) -> str:
        text, self._held = self._held, ""
        return text
