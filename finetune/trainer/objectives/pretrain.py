"""Continued pre-training: every token of a document is predicted from those before it.

The sums are those of supervised fine-tuning; what is trained of a document, and how a long one is
cut into chunks, stands in the records. Some documents are rearranged so that the model learns to
fill in the middle, where that is asked for.
"""

from dataclasses import replace

from pydantic import Field

from finetune.records.infilling import Cut, Holes
from finetune.trainer.objectives.contract import Settings
from finetune.trainer.objectives.sft import SFT


class PretrainSettings(Settings):
    """`fim_rate`: the share of texts in which a hole is filled in, `fim_spm_rate`: of those, the
    share whose suffix comes first; `fim_cut`: whether holes begin and end anywhere or with
    lines."""

    fim_rate: float = Field(default=0.0, ge=0, le=1)
    fim_spm_rate: float = Field(default=0.5, ge=0, le=1)
    fim_cut: Cut = "character"

    @property
    def holes(self) -> Holes | None:
        if not self.fim_rate:
            return None
        return Holes(rate=self.fim_rate, spm_rate=self.fim_spm_rate, cut=self.fim_cut)


PRETRAIN = replace(
    SFT,
    name="pretrain",
    formats=frozenset({"text"}),
    overflow="chunk",
    settings=PretrainSettings,
    rearranges=True,
)
