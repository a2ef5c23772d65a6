"""How work fails that was tried again as often as it may be."""

from typing import Any

from faults import Fault, OurFault


class GivenUp(OurFault):
    """The last attempt's fault, with the number of attempts without progress in between."""

    def __init__(self, fault: Fault, attempts: int) -> None:
        super().__init__(
            fault.code,
            f"{fault.message} Given up; attempts without progress: {attempts}.",
            where=fault.where,
            fix=fault.fix,
            param=fault.param,
        )
        self.attempts = attempts

    def fields(self) -> dict[str, Any]:
        return super().fields() | {"attempts": self.attempts}
