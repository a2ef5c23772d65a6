"""Tiny random bases that rank, as sentence-transformers' CrossEncoder saves such models, built on
the spot."""

import json
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    ModernBertConfig,
    ModernBertForSequenceClassification,
    RobertaConfig,
    RobertaForSequenceClassification,
    XLMRobertaConfig,
    XLMRobertaForSequenceClassification,
)

from tests.embedders import SIZES
from tests.tiny import build_tokenizer

_SIZES = SIZES | {"num_labels": 1}
_BEHIND = _SIZES | {"pad_token_id": 1}
KINDS: dict[str, Any] = {
    "bert": lambda: BertForSequenceClassification(BertConfig(**_SIZES)),
    "roberta": lambda: RobertaForSequenceClassification(RobertaConfig(**_BEHIND)),
    "xlm-roberta": lambda: XLMRobertaForSequenceClassification(XLMRobertaConfig(**_BEHIND)),
    "modernbert": lambda: ModernBertForSequenceClassification(
        ModernBertConfig(**_SIZES, bos_token_id=0, eos_token_id=2, cls_token_id=1, sep_token_id=2)
    ),
}


def build_reranker(
    folder: Path,
    kind: str = "bert",
    *,
    identity: bool = False,
    max_length: int = 64,
    seed: int = 0,
    spread: float = 3,
) -> Path:
    """Weights are a pure function of the seed; `spread`: times what they are drawn as, which makes
    pairs less alike."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KINDS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(spread)
    if identity:
        model.config.sentence_transformers = {"activation_fn": "torch.nn.modules.linear.Identity"}
    model.save_pretrained(folder)
    tokenizer = build_tokenizer("none")
    segments = kind == "bert"
    second = 1 if segments else 0
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        pair=f"<|im_start|> $A <|im_end|> $B:{second} <|im_end|>:{second}",
        special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)],
    )
    # one of RoBERTa's kind pads with its number 1
    tokenizer.pad_token = "<|im_start|>" if model.config.pad_token_id == 1 else "<|endoftext|>"
    tokenizer.model_max_length = max_length
    tokenizer.save_pretrained(folder)
    if segments:
        path = folder / "tokenizer_config.json"
        names = ["input_ids", "token_type_ids", "attention_mask"]
        path.write_text(json.dumps(json.loads(path.read_text()) | {"model_input_names": names}))
    return folder
