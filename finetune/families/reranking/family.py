"""The family's face to training, packaging and serving (see finetune.families.contract)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from finetune.families.contract import AdapterSpec, Precision
from finetune.families.encoders import (
    REHEARSAL_LAYERS,
    REHEARSAL_SEQUENCES,
    REHEARSAL_TOKENS,
    rehearsed,
    shape_of,
)
from finetune.families.formless import Formless
from finetune.families.reranking import adapted, comparing
from finetune.families.reranking.adapted import attach
from finetune.families.reranking.architectures import native_architecture
from finetune.families.reranking.loading import fit_of, sketch_base
from finetune.families.reranking.ranker import load_ranker
from finetune.families.reranking.reading import PairReader, frozen_items
from finetune.records.ranking import Pair, read_ranking


class _Rankers(Formless):
    said = "A reranker has no merged form."
    instead = "Take its bundle: `reranker/` in it loads as a whole with sentence-transformers."
    gguf_architectures: tuple[str, ...] = ()
    architecture = staticmethod(native_architecture)
    fit = staticmethod(fit_of)
    reader = PairReader
    frozen = staticmethod(frozen_items)
    load = staticmethod(adapted.load)
    resident = staticmethod(load_ranker)
    compare = staticmethod(comparing.compare)
    shape = staticmethod(shape_of)

    def rehearsal(self, base_dir: Path, precision: Precision) -> Iterator[Callable[[], None]]:
        with torch.random.fork_rng(devices=[]):
            base = sketch_base(base_dir, precision, layers=REHEARSAL_LAYERS)
            model = attach(base, read_ranking(base_dir), AdapterSpec(), seed=0)
        pairs = [Pair(range(1, REHEARSAL_TOKENS + 1), REHEARSAL_TOKENS // 2)] * REHEARSAL_SEQUENCES
        batch = model.lay_out(pairs, share_prefixes=False)
        model.train(True)
        yield from rehearsed(lambda: model.scores(batch))


RERANKING = _Rankers()
"""Cross-encoders: bases that read a query and a document side by side."""
