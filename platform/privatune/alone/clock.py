"""The time that a licence is held to. The latest that was seen is kept in a file, so that a clock
that is turned back does not make a licence longer."""

import os
import stat
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

from faults import OurFault, UserFault

TOLERANCE = timedelta(hours=1)  # a clock that is set right is no clock that is turned back
LONGEST = 100  # bytes of a time
WRITTEN_EVERY = timedelta(minutes=1)


def utc_now() -> datetime:
    return datetime.now(UTC)


class HighWater:
    """`least`: what the time cannot be before, by what was signed."""

    def __init__(self, path: Path, *, least: datetime, now: Callable[[], datetime] = utc_now):
        self._path = path
        self._now = now
        self._mark = max(least, self._written())
        self._kept: datetime | None = None  # the last that was written

    def time(self) -> datetime:
        """The latest that was seen, this moment's among them. Raises UserFault `clock_behind`,
        OurFault `clock_unwritable`."""
        now = self._now()
        if now < self._mark - TOLERANCE:
            raise UserFault(
                "clock_behind",
                f"This machine's clock says {_told(now)}, and it was {_told(self._mark)} already.",
                fix="Set the clock right.",
            )
        self._mark = max(self._mark, now)
        if self._kept is None or self._mark - self._kept >= WRITTEN_EVERY:
            self._write()
        return self._mark

    def _written(self) -> datetime:
        try:
            return datetime.fromisoformat(_line_of(self._path)).astimezone(UTC)
        except FileNotFoundError:
            return datetime.min.replace(tzinfo=UTC)
        except (ValueError, OverflowError, OSError) as error:
            raise UserFault(
                "clock_unreadable",
                "The file that keeps the latest time that was seen is no time.",
                where=str(self._path),
                fix="Take the folder from a backup, or ask whoever gave you the model.",
            ) from error

    def _write(self) -> None:
        partial = self._path.with_name(f".{self._path.name}-{os.getpid()}")
        try:
            self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
            partial.write_text(self._mark.isoformat(), "ascii")
            os.replace(partial, self._path)
        except OSError as error:
            raise OurFault(
                "clock_unwritable",
                f"The latest time that was seen cannot be kept: {error.strerror}.",
                where=str(self._path),
                fix="Give the program a --state folder that it can write.",
            ) from error
        self._kept = self._mark


def _line_of(path: Path) -> str:
    """Of a file alone: a pipe or a device may never end. Raises OSError, ValueError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
    with open(descriptor, "rb") as file:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise ValueError(path)
        return file.read(LONGEST).decode("ascii").strip()


def _told(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%d %H:%M UTC")
