"""A worker's own disk without room, as the operating system says it and as we tell it."""

import errno

from faults import Outage

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class DiskFull(Outage):
    """A worker's own disk has no room: its work waits, and costs nobody a file or an attempt."""

    def __init__(self) -> None:
        super().__init__(
            "disk_full", "the worker's disk is full; the operator should free space there."
        )


def is_full(error: BaseException) -> bool:
    """Whether the operating system found no room to write."""
    return isinstance(error, OSError) and error.errno in NO_SPACE
