"""CoSENT (Huang et al. 2024): of any two pairs of a step, the one with the higher score shall have
the more similar vectors. The loss is of the step as a whole, and each pair's share the same."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from finetune.records.kinds import SCORED
from finetune.trainer.objectives import vectors
from finetune.trainer.objectives.contract import Embed, Objective, Placed
from finetune.trainer.objectives.vectors import VectorSettings, placed

if TYPE_CHECKING:
    from torch import Tensor


def cosent(
    items: Sequence[Any], embed: Embed, *, settings: VectorSettings | None = None
) -> list[Placed]:
    settings = settings or VectorSettings()

    def losses(found: "Tensor") -> "tuple[Tensor, dict[str, Tensor]]":
        import torch

        one, other = found.view(len(items), 2, -1).unbind(1)
        alike = settings.scale * (one * other).sum(-1)
        scores = torch.tensor([_score(item) for item in items], dtype=torch.float64)
        less = (scores[:, None] < scores[None, :]).to(found.device)
        too_much = (alike[:, None] - alike[None, :])[less]  # above a pair of a higher score
        loss = torch.logsumexp(torch.cat((too_much.new_zeros(1), too_much)), 0)
        return loss.expand(len(items)), {}

    return placed(items, embed, losses, settings)


def _score(item: Any) -> float:
    score: float = item.score
    return score


COSENT = Objective(
    name="cosent",
    records=SCORED,
    sums=vectors.sums,
    together=cosent,
    family="embedding",
    overflow="cut",
    settings=VectorSettings,
    fewest=2,
)
