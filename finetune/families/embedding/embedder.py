"""A base that embeds, in memory: texts in tokens in, a vector of each out, by its adapter."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from faults import UserFault
from finetune.families.adapters.assignment import Adapter, Assignment
from finetune.families.adapters.files import read_adapter
from finetune.families.adapters.switch import AdapterSwitch
from finetune.families.contract import Device, Precision
from finetune.families.embedding.loading import DTYPES, load_base
from finetune.families.embedding.pooling import Texts, pooled
from finetune.records.recipe import Recipe, read_recipe

# of a vector's longest component; padding that is seen is orders of magnitude above
TOLERANCE = {torch.float64: 1e-9, torch.float32: 1e-4, torch.bfloat16: 0.1}


class Embedder:
    """`vectors` is the only way its weights are used."""

    def __init__(self, model: Any, recipe: Recipe) -> None:
        self.model = model  # a transformers body
        self.recipe = recipe
        self.switch = AdapterSwitch(model)
        self.padding = int(model.config.pad_token_id or 0)

    @property
    def device(self) -> torch.device:
        found: torch.device = next(self.model.parameters()).device
        return found

    @property
    def dtype(self) -> torch.dtype:
        found: torch.dtype = next(self.model.parameters()).dtype
        return found

    @property
    def dimensions(self) -> int:
        return int(self.model.config.hidden_size)

    @property
    def vocabulary_size(self) -> int:
        return int(self.model.config.vocab_size)

    @property
    def context_length(self) -> int:
        return self.recipe.max_length

    @cached_property
    def nbytes(self) -> int:
        return sum(p.numel() * p.element_size() for p in self.model.parameters())

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

    def read_adapter(self, safetensors: bytes, config: dict[str, Any]) -> Adapter:
        return read_adapter(self.model, safetensors, config)

    @torch.no_grad()
    def gap(self, texts: Sequence[Sequence[int]]) -> float:
        """How far a text's vector beside longer ones is from its vector alone, of the largest
        component."""
        together = self.vectors(self.lay_out(texts))
        alone = torch.cat([self.vectors(self.lay_out([text])) for text in texts])
        return float((together - alone).abs().max() / alone.abs().max())

    @contextmanager
    def plain(self) -> Iterator[None]:
        with self.switch.using(Assignment()):
            yield


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
