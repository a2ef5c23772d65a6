"""A base that embeds with the adapter that it is trained with."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import OurFault
from finetune.families.adapters.adapted import Adapted
from finetune.families.adapters.fresh import TrainableAdapter, fresh_adapter
from finetune.families.contract import AdapterSpec, Device, Precision
from finetune.families.embedding.embedder import Embedder
from finetune.families.embedding.loading import DTYPES, load_base
from finetune.families.embedding.pooling import Texts
from finetune.families.embedding.probing import Probe
from finetune.families.encoders import TOLERANCE
from finetune.records.recipe import Recipe, read_recipe


@dataclass(frozen=True)
class Text:
    """One text in tokens. All of them are learnt from: its vector is made of all their states."""

    input_ids: Sequence[int]

    def __len__(self) -> int:
        return len(self.input_ids)

    @property
    def trained(self) -> int:
        return len(self.input_ids)

    @property
    def labels(self) -> list[bool]:
        """Of each token whether it is trained, as a file of token ids keeps it."""
        return [True] * len(self.input_ids)

    @property
    def sequences(self) -> tuple["Text"]:
        return (self,)


class AdaptedEmbedder(Adapted):
    """A frozen base that embeds, with a trainable adapter."""

    def __init__(self, model: Any, recipe: Recipe, trained: TrainableAdapter) -> None:
        self.embedder = Embedder(model, recipe)
        super().__init__(self.embedder.switch, trained)

    @property
    def side_by_side(self) -> bool:
        """Always: what fits itself to the rows shown is refused (see architectures.py)."""
        return True

    def lay_out(self, sequences: Sequence[Any], *, share_prefixes: bool) -> Texts:
        """Each text by itself: an encoder's states depend on what follows, too."""
        return self.embedder.lay_out([each.input_ids for each in sequences])

    def embed(self, batch: Texts) -> Tensor:
        """[texts, d], float32 or wider."""
        return self.embedder.vectors(batch)

    def check_faithful(self, sequences: Sequence[Any]) -> None:
        """A text's vector is its own, whatever stands beside it. Raises OurFault
        `unfaithful_architecture`."""
        self.train(False)
        texts = [list(each.input_ids) for each in sequences]
        texts += [text[: max(1, len(text) // 2)] for text in texts]
        if not (gap := self.embedder.gap(texts)) < TOLERANCE[self.embedder.dtype]:
            raise OurFault(
                "unfaithful_architecture",
                f"Padded texts give other vectors than each alone (by {gap:.1e}).",
                fix="This architecture is not supported yet; choose another base.",
            )

    @torch.no_grad()
    def probe(self, sequences: Sequence[Any]) -> dict[str, Tensor]:
        self.train(False)
        return Probe.taken([list(each.input_ids) for each in sequences], self.embedder).tensors()

    def train(self, mode: bool) -> None:
        self.embedder.model.train(mode)


def load(
    base_dir: Path,
    adapter: AdapterSpec,
    *,
    precision: Precision,
    device: Device,
    seed: int,
    gradient_checkpointing: bool = False,
    noise_alpha: float = 0.0,
) -> AdaptedEmbedder:
    """Base in `precision`; the adapter in float32 (float64 where the base is), seeded. There is no
    noise for it: `noise_alpha` is refused with the spec."""
    recipe = read_recipe(base_dir)
    model = load_base(base_dir, dtype=DTYPES[precision]).to(device)
    adapted = attach(model, recipe, adapter, seed=seed)
    if gradient_checkpointing:
        adapted.switch.recompute()
    return adapted


def attach(model: Any, recipe: Recipe, adapter: AdapterSpec, *, seed: int) -> AdaptedEmbedder:
    """Put a fresh, seeded adapter on a loaded base. Raises UserFault where it does not fit."""
    return AdaptedEmbedder(model, recipe, fresh_adapter(model, adapter, seed=seed))
