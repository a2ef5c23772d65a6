"""The two error families of everything that is made: the customer's to mend, and ours.

Every error has a stable `code`, and says what is wrong, where, and how to mend it.
"""

import errno
from typing import Any

NO_SPACE = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


class FinetuneError(Exception):
    """Base of both families; raise one of the two below."""

    status = 500

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        param: str | None = None,
    ) -> None:
        super().__init__(message)
        self.code = code
        self.message = message
        self.where = where
        self.fix = fix
        self.param = param

    def __str__(self) -> str:
        parts = [self.message]
        if self.where:
            parts.append(f"({self.where})")
        if self.fix:
            parts.append(f"Fix: {self.fix}")
        return " ".join(parts)

    def as_dict(self) -> dict[str, Any]:
        """The shape of `error.json`: code, message, where, fix, param, family."""
        return {
            "family": "user" if isinstance(self, UserFault) else "ours",
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "fix": self.fix,
            "param": self.param,
        }


class UserFault(FinetuneError):
    """The customer's data or request is at fault; retrying unchanged fails again."""

    status = 400


class OurFault(FinetuneError):
    """Something of ours broke; the same request may succeed later."""

    status = 500


class DiskFull(OurFault):
    """A worker's own disk has no room: its work waits, and costs nobody a file or an attempt."""

    def __init__(self) -> None:
        super().__init__(
            "disk_full",
            "The worker's disk is full.",
            fix="The operator should free space there; the work then goes on by itself.",
        )


def is_full(error: BaseException) -> bool:
    """Whether the operating system found no room to write."""
    return isinstance(error, OSError) and error.errno in NO_SPACE
