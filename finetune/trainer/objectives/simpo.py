"""Simple preference optimisation (Meng et al. 2024): the chosen answer shall be likelier a token
than the rejected one, by a margin, with no base to compare with.

Means are over pairs; what TRL calls log-probabilities here are means over an answer's tokens.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from pydantic import Field

from finetune.records.kinds import PAIR
from finetune.trainer.objectives.contract import Objective, Settings, Sums
from finetune.trainer.objectives.preferences import METRICS, Likely, both_sides, lengths, measured

if TYPE_CHECKING:
    from torch import Tensor


class SimpoSettings(Settings):
    """`gamma`: the margin aimed at, of `beta` times the log-probabilities of a token."""

    beta: float = Field(default=2.0, gt=0, le=100)
    gamma: float = Field(default=0.5, ge=0, le=100)


DEFAULT = SimpoSettings()


def simpo(
    model: Likely, batch: Any, items: Sequence[Any], *, settings: SimpoSettings = DEFAULT
) -> Sums:
    found = _by_token(model, batch, items)
    return Sums(
        loss=_losses(found, settings).sum(),
        weight=len(items),
        metrics=measured(settings.beta * found, found),
    )


def each(
    model: Likely, batch: Any, items: Sequence[Any], *, settings: SimpoSettings = DEFAULT
) -> list[tuple[float, float]]:
    found = _by_token(model, batch, items)
    return [(float(loss), 1.0) for loss in _losses(found, settings)]


def _by_token(model: Likely, batch: Any, items: Sequence[Any]) -> "Tensor":
    """[pairs, 2]: mean log-probabilities of both sides' labels."""
    found = both_sides(model, batch, items)
    return found / lengths(found, items)


def _losses(found: "Tensor", settings: SimpoSettings) -> "Tensor":
    """[pairs]"""
    from torch.nn.functional import logsigmoid

    return -logsigmoid(settings.beta * (found[:, 0] - found[:, 1]) - settings.gamma)


SIMPO = Objective(
    name="simpo",
    records=PAIR,
    sums=simpo,
    metrics=METRICS,
    each=each,
    settings=SimpoSettings,
    rate=0.1,
)
