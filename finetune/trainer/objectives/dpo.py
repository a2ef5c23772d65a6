"""Direct preference optimisation (Rafailov et al. 2023), with smoothed labels (Mitchell 2023), and
IPO (Azar et al. 2024): the chosen answer shall gain on the rejected one, against the base.

Means are over pairs, and IPO's log-ratios are means over an answer's tokens.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, Literal, Self

from pydantic import Field, model_validator

from finetune.records.kinds import PAIR, Item
from finetune.trainer.objectives.contract import Objective, Settings, Sums
from finetune.trainer.objectives.preferences import (
    METRICS,
    Likely,
    both_sides,
    lengths,
    measured,
)

if TYPE_CHECKING:
    from torch import Tensor


LEAST_OF_IPO = 1e-5


class DpoSettings(Settings):
    """`label_smoothing`: how often a preference is held to be the wrong way round."""

    beta: float = Field(default=0.1, gt=0, le=100)
    loss_type: Literal["sigmoid", "ipo"] = "sigmoid"
    label_smoothing: float = Field(default=0.0, ge=0, lt=0.5)

    @model_validator(mode="after")
    def _has_a_margin(self) -> Self:
        """The square of 1 / (2 beta) is infinite in float32 long before beta is 0."""
        if self.loss_type == "ipo" and self.beta < LEAST_OF_IPO:
            raise ValueError(
                f"ipo aims at a margin of 1/(2 beta), with beta {LEAST_OF_IPO} or more"
            )
        return self


DEFAULT = DpoSettings()


def dpo(
    model: Likely, batch: Any, items: Sequence[Any], *, settings: DpoSettings = DEFAULT
) -> Sums:
    found = both_sides(model, batch, items)
    ratios = _ratios(found, items)
    return Sums(
        loss=_losses(ratios, items, settings).sum(),
        weight=len(items),
        metrics=measured(settings.beta * ratios, found),
    )


def each(
    model: Likely, batch: Any, items: Sequence[Any], *, settings: DpoSettings = DEFAULT
) -> list[tuple[float, float]]:
    ratios = _ratios(both_sides(model, batch, items), items)
    return [(float(loss), 1.0) for loss in _losses(ratios, items, settings)]


def _ratios(found: "Tensor", items: Sequence[Any]) -> "Tensor":
    """[pairs, 2]: of log-likelihoods to the base's."""
    return found - found.new_tensor([item.reference for item in items])


def _losses(ratios: "Tensor", items: Sequence[Item], settings: DpoSettings) -> "Tensor":
    """[pairs], from log-ratios to the base [pairs, 2]."""
    from torch.nn.functional import logsigmoid

    if settings.loss_type == "ipo":
        chosen, rejected = (ratios / lengths(ratios, items)).unbind(1)
        return (chosen - rejected - 1 / (2 * settings.beta)).square()
    margins = settings.beta * (ratios[:, 0] - ratios[:, 1])
    smoothing = settings.label_smoothing
    if not smoothing:
        return -logsigmoid(margins)
    return -(1 - smoothing) * logsigmoid(margins) - smoothing * logsigmoid(-margins)


DPO = Objective(
    name="dpo",
    records=PAIR,
    sums=dpo,
    metrics=METRICS,
    needs=frozenset({"reference"}),
    each=each,
    settings=DpoSettings,
    rate=0.1,
)
