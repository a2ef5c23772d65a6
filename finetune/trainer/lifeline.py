"""How a training process ends from outside: yielding on SIGTERM."""

import signal
from types import FrameType


class Yielded(Exception):
    """SIGTERM came: what is done is checkpointed and the process ends with ExitCode.YIELDED."""


class Stop:
    """Set by SIGTERM, looked at between micro-batches."""

    def __init__(self) -> None:
        self.requested = False

    def listen(self) -> None:
        signal.signal(signal.SIGTERM, self._on_signal)
        # The sandbox starts us with it blocked, so that one that came too early is not lost
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def leave(self) -> None:
        """At the very end: the interpreter takes handlers down before it exits, and a SIGTERM that
        came then would turn a finished run into a killed one."""
        signal.signal(signal.SIGTERM, signal.SIG_IGN)

    def check(self) -> None:
        if self.requested:
            raise Yielded

    def _on_signal(self, _number: int, _frame: FrameType | None) -> None:
        self.requested = True
