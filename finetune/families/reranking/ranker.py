"""A base that ranks, in memory: pairs in tokens in, a logit of each out, by its adapter."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import UserFault
from finetune.families.adapters.assignment import Assignment
from finetune.families.contract import Device, Precision
from finetune.families.embedding.loading import DTYPES
from finetune.families.embedding.pooling import Texts
from finetune.families.encoders import TOLERANCE, Encoder
from finetune.families.reranking.loading import load_base
from finetune.records.ranking import Pair, Ranking, read_ranking


@dataclass(frozen=True)
class Pairs:
    """A micro-batch, padded on the right. `segments` is 1 from a document's first token on."""

    texts: Texts
    segments: Tensor | None  # [pairs, longest]

    @property
    def tokens(self) -> int:
        return self.texts.tokens


class Ranker(Encoder):
    """`logits` is the only way its weights are used."""

    dimensions = 1

    def __init__(self, model: Any, ranking: Ranking) -> None:
        super().__init__(model)  # transformers', with its head
        self.ranking = ranking

    @property
    def context_length(self) -> int:
        return self.ranking.max_length

    def lay_out(self, pairs: Sequence[Pair]) -> Pairs:
        texts = Texts.of([pair.input_ids for pair in pairs], self.padding, self.device)
        if not self.ranking.segments:
            return Pairs(texts, None)
        places = torch.arange(texts.mask.shape[1], device=self.device)
        firsts = torch.tensor([pair.first for pair in pairs], device=self.device)
        return Pairs(texts, (places >= firsts[:, None]).long() * texts.mask)

    def logits(self, pairs: Pairs) -> Tensor:
        """[pairs], float32 or wider."""
        more = {} if pairs.segments is None else {"token_type_ids": pairs.segments}
        texts = pairs.texts
        found = self.model(input_ids=texts.input_ids, attention_mask=texts.mask, **more).logits
        found = found[:, 0]
        return found if found.dtype == torch.float64 else found.float()

    @torch.inference_mode()
    def embed(self, texts: Sequence[Any], adapters: Sequence[Any]) -> Tensor:
        """[pairs, 1]: scores of pairs of several tenants at once, each with its adapter or None, in
        the shape in which a base that embeds gives its vectors."""
        with self.switch.using(Assignment.by_row(adapters, self.device)):
            found = self.logits(self.lay_out(texts))
        return (found.sigmoid() if self.ranking.sigmoid else found).unsqueeze(1)

    @torch.no_grad()
    def gap(self, pairs: Sequence[Pair]) -> float:
        """How far a pair's logit beside longer ones is from its logit alone, of the largest."""
        together = self.logits(self.lay_out(pairs))
        alone = torch.cat([self.logits(self.lay_out([pair])) for pair in pairs])
        return float((together - alone).abs().max() / alone.abs().max().clamp_min(1e-3))


def load_ranker(base_dir: Path, *, precision: Precision, device: Device) -> Ranker:
    """Loaded and tried. Raises UserFault `architecture_unsupported`, `ranking_unsupported`."""
    ranking = read_ranking(base_dir)
    try:
        model = load_base(base_dir, dtype=DTYPES[precision])
    except (ValueError, KeyError) as error:
        raise _unsupported(base_dir.name, str(error)) from error
    ranker = Ranker(model.to(device).eval().requires_grad_(False), ranking)
    size = ranker.vocabulary_size
    pairs = [Pair([(7 * n + count) % size for n in range(count)], 2) for count in (4, 11)]
    if not (found := ranker.gap(pairs)) < TOLERANCE[ranker.dtype]:
        raise _unsupported(
            base_dir.name, f"a pair's score depends on those beside it ({found:.1e})"
        )
    return ranker


def _unsupported(name: str, reason: str) -> UserFault:
    return UserFault(
        "architecture_unsupported",
        f"The base model {name} cannot rank here: {reason}",
        fix="docs/reference/architectures.md lists what was run here; choose one of those.",
    )
