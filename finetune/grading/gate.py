"""What a model has to reach before it is given out, and whether an evaluation's report shows it."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, model_validator

from finetune.grading.advice import Decision, Reason

Verdict = Literal["deploy", "not_worse"]
# Whatever the figures are then, they do not speak of the model.
SAYS_NOTHING = frozenset({Reason.TRAINED_ON, Reason.TOO_MANY_ERRORS, Reason.TOO_FEW_ROWS})


class Gate(BaseModel):
    """`verdict`: `deploy`, or `not_worse`, which bars only what is shown to score lower than its
    base; `minimum`: the least score. Where both are given both have to be reached."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    verdict: Verdict | None = None
    minimum: Annotated[float, Field(ge=0, le=1)] | None = None

    @model_validator(mode="after")
    def _asks_something(self) -> "Gate":
        if self.verdict is None and self.minimum is None:
            raise ValueError("give `verdict`, `minimum` or both")
        return self

    def is_reached(self, report: dict[str, Any]) -> bool:
        """By an evaluation in which the base was asked as well."""
        advice = report["advice"]
        if advice["reason"] in SAYS_NOTHING:
            return False
        if self.minimum is not None and report["sides"]["model"]["score"] < self.minimum:
            return False
        if self.verdict == "deploy":
            return bool(advice["decision"] == Decision.DEPLOY)
        return self.verdict is None or bool(advice["reason"] != Reason.WORSE_THAN_BASE)
