"""A base that embeds, in memory: texts in tokens in, a vector of each out, by its adapter."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import UserFault
from finetune.families.adapters.assignment import Assignment
from finetune.families.contract import Device, Precision
from finetune.families.embedding.loading import DTYPES, load_base
from finetune.families.embedding.pooling import Texts, pooled
from finetune.families.encoders import TOLERANCE, Encoder
from finetune.records.recipe import Recipe, read_recipe


class Embedder(Encoder):
    """`vectors` is the only way its weights are used."""

    def __init__(self, model: Any, recipe: Recipe) -> None:
        super().__init__(model)  # a transformers body
        self.recipe = recipe

    @property
    def dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def context_length(self) -> int:
        return self.recipe.max_length

    def lay_out(self, texts: Sequence[Sequence[int]]) -> Texts:
        return Texts.of(texts, self.padding, self.device)

    def vectors(self, texts: Texts) -> Tensor:
        """[texts, dimensions], float32 or wider; of length 1 where the recipe says so."""
        states = self.model(input_ids=texts.input_ids, attention_mask=texts.mask).last_hidden_state
        return pooled(states, texts.mask, self.recipe)

    @torch.inference_mode()
    def embed(self, texts: Sequence[Sequence[int]], adapters: Sequence[Any]) -> Tensor:
        """Of texts of several tenants at once, each with its adapter or None."""
        with self.switch.using(Assignment.by_row(adapters, self.device)):
            return self.vectors(self.lay_out(texts))

    @torch.no_grad()
    def gap(self, texts: Sequence[Sequence[int]]) -> float:
        """How far a text's vector beside longer ones is from its vector alone, of the largest
        component."""
        together = self.vectors(self.lay_out(texts))
        alone = torch.cat([self.vectors(self.lay_out([text])) for text in texts])
        return float((together - alone).abs().max() / alone.abs().max())


def load_embedder(base_dir: Path, *, precision: Precision, device: Device) -> Embedder:
    """Loaded and tried. Raises UserFault `architecture_unsupported`, `recipe_unsupported`."""
    recipe = read_recipe(base_dir)
    try:
        model = load_base(base_dir, dtype=DTYPES[precision])
    except (ValueError, KeyError) as error:
        raise _unsupported(base_dir.name, str(error)) from error
    embedder = Embedder(model.to(device).eval().requires_grad_(False), recipe)
    size = embedder.vocabulary_size
    texts = [[(7 * place + count) % size for place in range(count)] for count in (3, 11)]
    if not (found := embedder.gap(texts)) < TOLERANCE[embedder.dtype]:
        raise _unsupported(
            base_dir.name, f"a text's vector depends on those beside it ({found:.1e})"
        )
    return embedder


def _unsupported(name: str, reason: str) -> UserFault:
    return UserFault(
        "architecture_unsupported",
        f"The base model {name} cannot embed here: {reason}",
        fix="docs/reference/architectures.md lists what was run here; choose one of those.",
    )
