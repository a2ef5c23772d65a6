"""A base that ranks with the adapter that it is trained with, on the layers of its head, too."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import OurFault
from finetune.families.adapters.adapted import Adapted
from finetune.families.adapters.fresh import TrainableAdapter, fresh_adapter
from finetune.families.contract import AdapterSpec, Device, Precision
from finetune.families.embedding.loading import DTYPES
from finetune.families.encoders import TOLERANCE
from finetune.families.reranking.loading import load_base
from finetune.families.reranking.probing import Probe
from finetune.families.reranking.ranker import Pairs, Ranker
from finetune.records.ranking import Pair, Ranking, read_ranking


class AdaptedRanker(Adapted):
    """A frozen base that ranks, with a trainable adapter."""

    def __init__(self, model: Any, ranking: Ranking, trained: TrainableAdapter) -> None:
        self.ranker = Ranker(model, ranking)
        super().__init__(self.ranker.switch, trained)

    @property
    def side_by_side(self) -> bool:
        return True

    def lay_out(self, sequences: Sequence[Any], *, share_prefixes: bool) -> Pairs:
        """Each pair by itself: an encoder's states depend on what follows, too."""
        return self.ranker.lay_out(sequences)

    def scores(self, batch: Pairs) -> Tensor:
        """[pairs], logits, float32 or wider."""
        return self.ranker.logits(batch)

    def embed(self, batch: Pairs) -> Tensor:
        """[pairs, 1]: for whoever asks each sequence's vector."""
        return self.scores(batch).unsqueeze(1)

    def check_faithful(self, sequences: Sequence[Any]) -> None:
        """A pair's score is its own, whatever stands beside it. Raises OurFault
        `unfaithful_architecture`."""
        self.train(False)
        pairs = [Pair(list(each.input_ids), each.first) for each in sequences]
        pairs += [Pair(each.input_ids[: each.first + 1], each.first) for each in pairs]
        if not (gap := self.ranker.gap(pairs)) < TOLERANCE[self.ranker.dtype]:
            raise OurFault(
                "unfaithful_architecture",
                f"Padded pairs get other scores than each alone (by {gap:.1e}).",
                fix="This architecture is not supported yet; choose another base.",
            )

    @torch.no_grad()
    def probe(self, sequences: Sequence[Any]) -> dict[str, Tensor]:
        self.train(False)
        return Probe.taken(sequences, self.ranker).tensors()

    def train(self, mode: bool) -> None:
        self.ranker.model.train(mode)


def load(
    base_dir: Path,
    adapter: AdapterSpec,
    *,
    precision: Precision,
    device: Device,
    seed: int,
    gradient_checkpointing: bool = False,
    noise_alpha: float = 0.0,
) -> AdaptedRanker:
    """Base in `precision`; the adapter in float32 (float64 where the base is), seeded. There is no
    noise for it: `noise_alpha` is refused with the spec."""
    ranking = read_ranking(base_dir)
    model = load_base(base_dir, dtype=DTYPES[precision]).to(device)
    adapted = attach(model, ranking, adapter, seed=seed)
    if gradient_checkpointing:
        adapted.switch.recompute()
    return adapted


def attach(model: Any, ranking: Ranking, adapter: AdapterSpec, *, seed: int) -> AdaptedRanker:
    """Put a fresh, seeded adapter on a loaded base. Raises UserFault where it does not fit."""
    return AdaptedRanker(model, ranking, fresh_adapter(model, adapter, seed=seed))
