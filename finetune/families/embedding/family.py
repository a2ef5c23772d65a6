"""The family's face to training, packaging and serving (see finetune.families.contract)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from finetune.families.contract import AdapterSpec, Precision
from finetune.families.embedding import adapted, comparing
from finetune.families.embedding.adapted import Text, attach
from finetune.families.embedding.architectures import native_architecture
from finetune.families.embedding.embedder import load_embedder
from finetune.families.embedding.loading import fit_of, sketch_base
from finetune.families.embedding.reading import TextReader, frozen_items
from finetune.families.encoders import (
    REHEARSAL_LAYERS,
    REHEARSAL_SEQUENCES,
    REHEARSAL_TOKENS,
    rehearsed,
    shape_of,
)
from finetune.families.formless import Formless
from finetune.records.recipe import read_recipe


class _Embedders(Formless):
    said = "A model that makes vectors has no merged form."
    instead = "Take its bundle: `embedder/` in it loads as a whole with sentence-transformers."
    gguf_architectures: tuple[str, ...] = ()
    architecture = staticmethod(native_architecture)
    fit = staticmethod(fit_of)
    reader = TextReader
    frozen = staticmethod(frozen_items)
    load = staticmethod(adapted.load)
    resident = staticmethod(load_embedder)
    compare = staticmethod(comparing.compare)
    shape = staticmethod(shape_of)

    def rehearsal(self, base_dir: Path, precision: Precision) -> Iterator[Callable[[], None]]:
        with torch.random.fork_rng(devices=[]):
            base = sketch_base(base_dir, precision, layers=REHEARSAL_LAYERS)
            model = attach(base, read_recipe(base_dir), AdapterSpec(), seed=0)
        texts = [Text(range(1, REHEARSAL_TOKENS + 1))] * REHEARSAL_SEQUENCES
        batch = model.lay_out(texts, share_prefixes=False)
        model.train(True)
        yield from rehearsed(lambda: model.embed(batch))


EMBEDDING = _Embedders()
