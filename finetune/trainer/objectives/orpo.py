"""Odds ratio preference optimisation (Hong et al. 2024): the chosen conversation is learnt, and its
answer shall have better odds than the rejected one, with no base to compare with.

As in the authors' code and in TRL, the likelihood that is learnt is of the whole chosen sequence,
its prompt included: a mean over the tokens of all pairs of a step. The odds are of answers alone,
by means over their tokens, and weighed by `beta`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

from pydantic import Field

from finetune.records.answers import with_prompt
from finetune.records.kinds import PAIR, Group, Item
from finetune.trainer.objectives.contract import Ask, Metric, Objective, Settings, Sums
from finetune.trainer.objectives.preferences import METRICS, labels_of, measured

if TYPE_CHECKING:
    from torch import Tensor

LIKELIEST = -1e-9  # [nats a token]: the odds of an answer that is certain are infinite


class OrpoSettings(Settings):
    """`beta`: the odds ratio's part of the loss; lambda in the paper."""

    beta: float = Field(default=0.1, gt=0, le=100)


DEFAULT = OrpoSettings()


class ByToken(Protocol):
    def token_losses(self, batch: Any, /) -> "Tensor":
        """[labels]: of each its loss [nats]."""
        ...


@dataclass(frozen=True)
class Wide(Group):
    """A pair whose chosen sequence is predicted from its second token on. `answer`: of each of
    these, whether it is the answer's."""

    answer: tuple[bool, ...]


def wide(pair: Any) -> Wide:
    chosen, rejected = pair.sequences
    whole = with_prompt(chosen)
    return Wide((whole, rejected), tuple(map(bool, chosen.labels[1 : 1 + whole.trained])))


def pairs_per_token(items: Sequence[Any], ask: Ask) -> float:
    """Of a step. A sum over tokens times this has the sum over pairs' divisor."""
    return len(items) / sum(_chosen_tokens(item) for item in items)


def orpo(
    model: ByToken, batch: Any, items: Sequence[Any], *, settings: OrpoSettings = DEFAULT
) -> Sums:
    nll, found = _likelihoods(model, batch, items)
    odds = _log_odds(found)
    ratio = _log_ratio(odds)
    pairs, tokens = len(items), sum(map(_chosen_tokens, items))
    return Sums(
        loss=(_common(nll, items) * nll - settings.beta * ratio).sum(),
        weight=pairs,
        metrics={
            **measured(settings.beta * found, found),
            "nll_loss": (nll.detach().sum(), tokens),
            "log_odds_ratio": (ratio.detach().sum(), pairs),
            "log_odds_chosen": (odds.detach().sum(), pairs),
        },
    )


def each(
    model: ByToken, batch: Any, items: Sequence[Any], *, settings: OrpoSettings = DEFAULT
) -> list[tuple[float, float]]:
    nll, found = _likelihoods(model, batch, items)
    losses = _common(nll, items) * nll - settings.beta * _log_ratio(_log_odds(found))
    return [(float(loss), 1.0) for loss in losses]


def _chosen_tokens(item: Item) -> int:
    return item.sequences[0].trained


def _common(like: "Tensor", items: Sequence[Any]) -> "Tensor":
    return like.new_tensor([item.common for item in items])


def _likelihoods(model: ByToken, batch: Any, items: Sequence[Any]) -> "tuple[Tensor, Tensor]":
    """(loss of the chosen sequences [pairs], mean log-probability of answers' labels [pairs, 2])"""
    import torch

    losses = model.token_losses(batch).double().split(labels_of(items))
    chosen, rejected = losses[::2], losses[1::2]
    answers = [
        part[torch.tensor(item.row.answer, device=part.device)]
        for part, item in zip(chosen, items, strict=True)
    ]
    found = [torch.stack([part.mean() for part in side]) for side in (answers, rejected)]
    return torch.stack([part.sum() for part in chosen]), -torch.stack(found, dim=1)


def _log_odds(found: "Tensor") -> "Tensor":
    """[pairs]: of the chosen answers to the rejected ones, log(p / (1 - p)) each."""
    sure = found.clamp(max=LIKELIEST)
    odds = sure - (-sure.expm1()).log()
    return odds[:, 0] - odds[:, 1]


def _log_ratio(odds: "Tensor") -> "Tensor":
    from torch.nn.functional import logsigmoid

    return logsigmoid(odds)


ORPO = Objective(
    name="orpo",
    records=PAIR,
    sums=orpo,
    metrics=(*METRICS, *map(Metric, ("nll_loss", "log_odds_ratio", "log_odds_chosen"))),
    each=each,
    common=pairs_per_token,
    shown=wide,
    settings=OrpoSettings,
    rate=0.25,
)
