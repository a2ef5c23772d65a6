"""The family's face to training, packaging and serving (see finetune.families.contract)."""

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch

from faults import UserFault
from finetune.families.contract import AdapterSpec, Expected, Precision, Shape
from finetune.families.reranking import adapted, comparing
from finetune.families.reranking.adapted import attach
from finetune.families.reranking.architectures import native_architecture
from finetune.families.reranking.loading import fit_of, sketch_base
from finetune.families.reranking.ranker import load_ranker
from finetune.families.reranking.reading import PairReader, frozen_items
from finetune.records.ranking import Pair, read_ranking
from finetune.records.recipe import positions_of

REHEARSAL_LAYERS = 2
REHEARSAL_PAIRS = 16
REHEARSAL_TOKENS = 32  # of a pair
REHEARSAL_STEPS = 3


class _Rankers:
    gguf_architectures: tuple[str, ...] = ()
    architecture = staticmethod(native_architecture)
    fit = staticmethod(fit_of)
    reader = PairReader
    frozen = staticmethod(frozen_items)
    load = staticmethod(adapted.load)
    resident = staticmethod(load_ranker)
    compare = staticmethod(comparing.compare)

    def shape(self, config: Any) -> Shape:
        return Shape(int(config.vocab_size), positions_of(config.to_dict()))

    def merge(
        self, base_dir: Path, packed: Path, folder: Path, *, shard_bytes: int
    ) -> dict[str, str]:
        raise _no_form()

    def expected(
        self, base_dir: Path, packed: Path, merged: dict[str, str], *, tokens: int
    ) -> Expected:
        raise _no_form()

    def rehearsal(self, base_dir: Path, precision: Precision) -> Iterator[Callable[[], None]]:
        with torch.random.fork_rng(devices=[]):
            base = sketch_base(base_dir, precision, layers=REHEARSAL_LAYERS)
            model = attach(base, read_ranking(base_dir), AdapterSpec(), seed=0)
        pairs = [Pair(range(1, REHEARSAL_TOKENS + 1), REHEARSAL_TOKENS // 2)] * REHEARSAL_PAIRS
        batch = model.lay_out(pairs, share_prefixes=False)
        model.train(True)

        def step() -> None:
            model.scores(batch).square().sum().backward()

        for _ in range(REHEARSAL_STEPS):
            yield step


def _no_form() -> UserFault:
    return UserFault(
        "form_unsupported",
        "A reranker has no merged form.",
        fix="Take its bundle: `reranker/` in it loads as a whole with sentence-transformers.",
    )


RERANKING: Any = _Rankers()
"""Cross-encoders: bases that read a query and a document side by side."""
