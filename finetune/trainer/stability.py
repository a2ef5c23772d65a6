"""When a step has blown up: one rule, over the steps that went well before it. Pure: what is done
about it stands in finetune.trainer.settling.

Both figures are taken as logarithms, which a loss in nats is already: of how improbable the rows
are, and of how long the gradient is.
"""

import math
from collections.abc import Sequence
from statistics import median

from pydantic import BaseModel

WINDOW = 64  # steps that the statistic is of
FEWEST = 8  # of fewer steps none is an outlier; what is not finite is one from the first on
TENFOLD = math.log(10)  # nats: at least ten times the median, ...
DEVIATIONS = 10  # ... and ten standard deviations beyond it, ...
NORMAL = 1.4826  # ... which the median deviation (MAD) is times this (Rousseeuw & Croux 1993)


class Watched(BaseModel):
    """Of the last steps that went well, ascending: mean losses [nats], and ln of the norms."""

    losses: list[float] = []
    norms: list[float] = []

    def note(self, loss: float, norm: float) -> None:
        self.losses = [*self.losses, loss][-WINDOW:]
        self.norms = [*self.norms, log(norm)][-WINDOW:]

    def has_blown_up(self, loss: float, norm: float, *, max_norm: float) -> bool:
        """A norm that clipping would let through as it is does no harm, whatever the others are."""
        if not (math.isfinite(loss) and math.isfinite(norm)):
            return True
        return loss > limit(self.losses) or (norm > max_norm and log(norm) > limit(self.norms))


def limit(values: Sequence[float]) -> float:
    """What no step goes beyond that is one of these."""
    if len(values) < FEWEST:
        return math.inf
    middle = median(values)
    spread = NORMAL * median(abs(value - middle) for value in values)
    return middle + max(TENFOLD, DEVIATIONS * spread)


def log(norm: float) -> float:
    return math.log(max(norm, 1e-300))
