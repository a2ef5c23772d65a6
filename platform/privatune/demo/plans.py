"""How much the demo does: rows, epochs and questions, chosen by what the machine was seen to do.

The figures of each plan were measured on the demo's own rows (docs/explanation/demo.md).
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

PROMISED_SECONDS = 300.0  # from the first command to the last figure, without installation
VARIABLE = "PRIVATUNE_DEMO_PLAN"

ROW_TOKENS = 48  # of a training or validation row, on average
FORWARD_SHARE = 0.4  # of a training step's time: what validating as many tokens takes
ANSWER_TOKENS = 110  # a question's cost, in tokens the base writes: 38 for its own answer, and the
# few-shot and the tuned answer take about as long, reading more and writing less
STARTS = 4  # processes like the trainer's that are still to come: its own probe, packaging, …


@dataclass(frozen=True)
class Plan:
    """`right` is the share of exact answers that it was measured to give, of 200."""

    name: str
    rows: int
    epochs: int
    batch_rows: int
    learning_rate_multiplier: float  # on this base's rate of 1e-3
    questions: int
    right: float

    @property
    def words(self) -> str:
        times = "once" if self.epochs == 1 else f"{self.epochs} times"
        return f"the {self.name} plan, {self.rows} rows {times}, {self.questions} questions"


@dataclass(frozen=True)
class Speed:
    """Measured here: tokens/s of training steps, tokens/s written for 16 questions at a time, and
    seconds from starting a training process to its first step."""

    training: float
    answering: float
    start: float


class NoSuchPlan(ValueError):
    """The message names those there are."""


PLANS = (
    Plan("full", 800, 1, 4, 2.0, 200, 0.895),
    Plan("medium", 800, 1, 4, 2.0, 60, 0.895),
    Plan("short", 500, 1, 4, 2.0, 50, 0.785),
)


def seconds(plan: Plan, speed: Speed) -> float:
    """What is still to come after the plan was chosen: validation twice, training, packaging and
    the answers of all three."""
    trained = plan.rows * plan.epochs * ROW_TOKENS / speed.training
    validated = 2 * plan.questions * ROW_TOKENS * FORWARD_SHARE / speed.training
    answered = plan.questions * ANSWER_TOKENS / speed.answering
    return trained + validated + answered + STARTS * speed.start


def choose(speed: Speed, left: float) -> Plan:
    """The first plan that ends in `left` seconds; the last one where none does."""
    return next((plan for plan in PLANS if seconds(plan, speed) <= left), PLANS[-1])


def forced(environment: Mapping[str, str] = os.environ) -> Plan | None:
    """What PRIVATUNE_DEMO_PLAN asks for. Raises NoSuchPlan."""
    name = environment.get(VARIABLE, "").strip()
    if not name:
        return None
    for plan in PLANS:
        if plan.name == name:
            return plan
    known = ", ".join(plan.name for plan in PLANS)
    raise NoSuchPlan(f"{VARIABLE} is {name!r}; there are {known}.")
