"""Tiny random bases that embed, as sentence-transformers saves such models, built on the spot."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from tokenizers.processors import TemplateProcessing
from transformers import (
    BertConfig,
    BertModel,
    DistilBertConfig,
    DistilBertModel,
    ModernBertConfig,
    ModernBertModel,
    MPNetConfig,
    MPNetModel,
    Qwen3Config,
    Qwen3Model,
    RobertaConfig,
    RobertaModel,
    XLMRobertaConfig,
    XLMRobertaModel,
)

from tests.tiny import build_tokenizer

WIDTH = 32
SIZES = {
    "vocab_size": 320,
    "hidden_size": WIDTH,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "intermediate_size": 48,
    "max_position_embeddings": 130,
    "pad_token_id": 0,
}
# Of RoBERTa's kind: positions begin behind the padding token's number
_BEHIND = SIZES | {"pad_token_id": 1}
KINDS: dict[str, Any] = {
    "bert": lambda: BertModel(BertConfig(**SIZES)),
    "roberta": lambda: RobertaModel(RobertaConfig(**_BEHIND)),
    "xlm-roberta": lambda: XLMRobertaModel(XLMRobertaConfig(**_BEHIND)),
    "mpnet": lambda: MPNetModel(MPNetConfig(**_BEHIND)),
    "distilbert": lambda: DistilBertModel(
        DistilBertConfig(
            vocab_size=320,
            dim=WIDTH,
            n_layers=2,
            n_heads=4,
            hidden_dim=48,
            max_position_embeddings=130,
            pad_token_id=0,
        )
    ),
    "modernbert": lambda: ModernBertModel(
        ModernBertConfig(**SIZES, bos_token_id=0, eos_token_id=2, cls_token_id=1, sep_token_id=2)
    ),
    "qwen3": lambda: Qwen3Model(
        Qwen3Config(**SIZES, num_key_value_heads=2, head_dim=8, bos_token_id=1, eos_token_id=2)
    ),
}


def build_embedder(
    folder: Path,
    kind: str = "bert",
    *,
    pooling: str = "mean",
    normalize: bool = True,
    prompts: Mapping[str, str] | None = None,
    default_prompt: str | None = None,
    max_length: int = 64,
    seed: int = 0,
) -> Path:
    """Weights are a pure function of the seed."""
    folder.mkdir(parents=True)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = KINDS[kind]()
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.mul_(3)  # as initialised, all texts are nearly alike
    model.save_pretrained(folder)
    tokenizer = build_tokenizer("none")
    tokenizer.backend_tokenizer.post_processor = TemplateProcessing(
        single="<|im_start|> $A <|im_end|>",
        special_tokens=[("<|im_start|>", 1), ("<|im_end|>", 2)],
    )
    # one of RoBERTa's kind pads with its number 1
    tokenizer.pad_token = "<|im_start|>" if model.config.pad_token_id == 1 else "<|endoftext|>"
    tokenizer.save_pretrained(folder)
    modules = ["Transformer", "Pooling", *(["Normalize"] if normalize else [])]
    _write(
        folder / "modules.json",
        [
            {
                "idx": number,
                "name": str(number),
                "path": "" if number == 0 else f"{number}_{name}",
                "type": f"sentence_transformers.models.{name}",
            }
            for number, name in enumerate(modules)
        ],
    )
    for number, name in enumerate(modules[1:], 1):
        (folder / f"{number}_{name}").mkdir()
    keys = {
        "mean": "mean_tokens",
        "cls": "cls_token",
        "max": "max_tokens",
        "lasttoken": "lasttoken",
    }
    told = {"word_embedding_dimension": WIDTH}
    told |= {f"pooling_mode_{key}": mode == pooling for mode, key in keys.items()}
    _write(folder / "1_Pooling" / "config.json", told)
    _write(
        folder / "sentence_bert_config.json",
        {"max_seq_length": max_length, "do_lower_case": False},
    )
    general = {"prompts": dict(prompts or {}), "default_prompt_name": default_prompt}
    _write(folder / "config_sentence_transformers.json", general)
    return folder


def _write(path: Path, value: Any) -> None:
    path.write_text(json.dumps(value), encoding="utf-8")
