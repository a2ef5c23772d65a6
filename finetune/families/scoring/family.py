"""The family's face to training and packaging (see finetune.families.contract): bases are those of
the causal language models, and only what is trained of them is other."""

from pathlib import Path
from typing import NoReturn

from faults import UserFault
from finetune.families.causal_lm.family import CAUSAL_LM
from finetune.families.contract import Device, Precision
from finetune.families.formless import Formless
from finetune.families.scoring import adapted, comparing, resident


class _Scoring(Formless):
    said = "A reward model has no merged form."
    instead = "Take its bundle: serve/README.md in it says how stock transformers load it."
    gguf_architectures: tuple[str, ...] = ()  # of bases: none is imported as one that scores
    architecture = staticmethod(CAUSAL_LM.architecture)
    shape = staticmethod(CAUSAL_LM.shape)
    fit = staticmethod(CAUSAL_LM.fit)
    reader = CAUSAL_LM.reader
    frozen = staticmethod(CAUSAL_LM.frozen)
    load = staticmethod(adapted.load)
    rehearsal = staticmethod(CAUSAL_LM.rehearsal)
    compare = staticmethod(comparing.compare)
    scores = staticmethod(resident.scores)

    def resident(self, base_dir: Path, *, precision: Precision, device: Device) -> NoReturn:
        raise UserFault(
            "architecture_unsupported",
            f"The base {base_dir.name} answers and scores nothing by itself.",
            fix="Load it as one that answers, and score with a reward model's adapter.",
        )


SCORING = _Scoring()
"""Reward models on decoder-only language models."""
