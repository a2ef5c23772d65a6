"""The family's face to training, packaging and serving (see finetune.families.contract)."""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from faults import UserFault
from finetune.families.contract import AdapterSpec, Expected, Precision, Shape
from finetune.families.embedding import adapted, comparing
from finetune.families.embedding.adapted import Text, attach
from finetune.families.embedding.architectures import native_architecture
from finetune.families.embedding.embedder import load_embedder
from finetune.families.embedding.loading import fit_of, sketch_base
from finetune.families.embedding.reading import TextReader, frozen_items
from finetune.records.recipe import positions_of, read_recipe

REHEARSAL_LAYERS = 2
REHEARSAL_TEXTS = 16
REHEARSAL_TOKENS = 32  # of a text
REHEARSAL_STEPS = 3


class _Embedders:
    gguf_architectures: tuple[str, ...] = ()
    architecture = staticmethod(native_architecture)
    fit = staticmethod(fit_of)
    reader = TextReader
    frozen = staticmethod(frozen_items)
    load = staticmethod(adapted.load)
    resident = staticmethod(load_embedder)
    compare = staticmethod(comparing.compare)

    def shape(self, config: Any) -> Shape:
        return Shape(int(config.vocab_size), positions_of(config.to_dict()))

    def merge(
        self, base_dir: Path, packed: Path, folder: Path, *, shard_bytes: int
    ) -> dict[str, str]:
        raise _no_form()

    def expected(
        self,
        base_dir: Path,
        packed: Path,
        merged: dict[str, str],
        *,
        tokens: int,
        texts: Sequence[str] | None = None,
    ) -> Expected:
        raise _no_form()

    def rehearsal(self, base_dir: Path, precision: Precision) -> Iterator[Callable[[], None]]:
        with torch.random.fork_rng(devices=[]):
            base = sketch_base(base_dir, precision, layers=REHEARSAL_LAYERS)
            model = attach(base, read_recipe(base_dir), AdapterSpec(), seed=0)
        texts = [Text(range(1, REHEARSAL_TOKENS + 1))] * REHEARSAL_TEXTS
        batch = model.lay_out(texts, share_prefixes=False)
        model.train(True)

        def step() -> None:
            model.embed(batch).square().sum().backward()

        for _ in range(REHEARSAL_STEPS):
            yield step


def _no_form() -> UserFault:
    return UserFault(
        "form_unsupported",
        "A model that makes vectors has no merged form.",
        fix="Take its bundle: `embedder/` in it loads as a whole with sentence-transformers.",
    )


EMBEDDING = _Embedders()
