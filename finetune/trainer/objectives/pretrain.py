"""Continued pre-training: every token of a document is predicted from those before it.

The sums are those of supervised fine-tuning; what is trained of a document, and how a long one is
cut into chunks, stands in the records.
"""

from dataclasses import replace

from finetune.trainer.objectives.sft import SFT

PRETRAIN = replace(SFT, name="pretrain", formats=frozenset({"text"}), overflow="chunk")
