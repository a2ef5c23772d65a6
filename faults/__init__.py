"""What goes wrong, in two families: the user's to mend, and ours.

Whatever this project raises for somebody to read is a child of one of the two. It has a stable
`code` and says what is wrong, where, and how to mend it; what is told about its kind (the status,
when to try again, other words than its own) stands on its class. Imports nothing of ours: a child
process in a sandbox sees it, too.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any, ClassVar


class Fault(Exception):
    """Base of both families; raise a child of one of the two below."""

    status: ClassVar[int] = 500  # HTTP's; a command's exit code follows from it
    retry_after: int | None = None  # seconds after which the same request may succeed
    ran_out: ClassVar[str] = "requests"  # of a 429, as OpenAI names it
    headers: Mapping[str, str] = MappingProxyType({})  # that go with the answer
    # The words of a private one name our machines and keys and are for the log. Whoever asked
    # reads `told` and `told_fix`, or without them no more than that something of ours broke.
    private: ClassVar[bool] = False
    told: ClassVar[str | None] = None
    told_fix: ClassVar[str | None] = None

    def __init__(
        self,
        code: str,
        message: str,
        *,
        where: str | None = None,
        fix: str | None = None,
        param: str | None = None,
    ) -> None:
        """`where` is a line, a field's path or a file; `param` names the request's field."""
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
        """The shape of `error.json` and of a reading's error: its family and its fields."""
        family = "user" if isinstance(self, UserFault) else "ours"
        return {"family": family} | self.fields()

    def fields(self) -> dict[str, Any]:
        """As a job keeps it and the command line prints it: code, message, where, fix, param."""
        return {
            "code": self.code,
            "message": self.message,
            "where": self.where,
            "fix": self.fix,
            "param": self.param,
        }


class UserFault(Fault):
    """The customer's data or request is at fault; retrying unchanged fails again."""

    status = 400


class OurFault(Fault):
    """Something of ours broke; the same request may succeed later."""

    status = 500


class Outage(OurFault):
    """The operator's to mend: what needs it waits until it is back, and that costs no attempt."""


def from_dict(told: Mapping[str, Any]) -> UserFault | OurFault:
    """What `as_dict` wrote, in a process that was told of it."""
    kind = UserFault if told["family"] == "user" else OurFault
    return kind(
        told["code"],
        told["message"],
        where=told["where"],
        fix=told["fix"],
        param=told["param"],
    )
