"""The family's face to training, packaging and serving (see finetune.families.contract)."""

from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from finetune.families.causal_lm import adapted, architectures, comparing, merging
from finetune.families.causal_lm.adapted import attach
from finetune.families.causal_lm.attention import NAME as PACKED
from finetune.families.causal_lm.layout import Row
from finetune.families.causal_lm.loading import fit_of, sketch_base
from finetune.families.causal_lm.reading import RowReader, frozen_items
from finetune.families.causal_lm.resident import load_resident
from finetune.families.causal_lm.shape import shape_of
from finetune.families.contract import AdapterSpec, Precision

REHEARSAL_LAYERS = 2
REHEARSAL_TOKENS = 256
REHEARSAL_STEPS = 3


class _CausalLMs:
    gguf_architectures: tuple[str, ...] = architectures.GGUF_ARCHITECTURES
    architecture = staticmethod(architectures.native_architecture)
    shape = staticmethod(shape_of)
    fit = staticmethod(fit_of)
    reader = RowReader
    frozen = staticmethod(frozen_items)
    load = staticmethod(adapted.load)
    resident = staticmethod(load_resident)
    compare = staticmethod(comparing.compare)
    merge = staticmethod(merging.merge)
    expected = staticmethod(merging.expected)

    def rehearsal(self, base_dir: Path, precision: Precision) -> Iterator[Callable[[], None]]:
        with torch.random.fork_rng(devices=[]):
            base = sketch_base(base_dir, precision, layers=REHEARSAL_LAYERS, attention=PACKED)
            model = attach(base, AdapterSpec(), seed=0)
        row = Row(range(1, 33), [i >= 16 for i in range(32)])
        layout = model.lay_out([row] * (REHEARSAL_TOKENS // len(row)), share_prefixes=False)
        model.train(True)

        def step() -> None:
            loss, _ = model.cross_entropy(layout)
            loss.backward()

        for _ in range(REHEARSAL_STEPS):
            yield step


CAUSAL_LM = _CausalLMs()
