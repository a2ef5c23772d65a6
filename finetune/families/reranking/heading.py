"""An encoder without a head, as a base that can learn to rank: it gets a head of one label, drawn
by a seed. The head is a part of the base from then on, and ranks nothing before it is trained."""

import json
from pathlib import Path
from typing import Any

import torch
from transformers import AutoModelForSequenceClassification

from faults import UserFault
from finetune.families.adapters.targets import POOLER
from finetune.families.reranking.architectures import ARCHITECTURES
from finetune.families.reranking.loading import FROM_FILES
from finetune.records.encode import load_tokenizer
from finetune.records.ranking import names_ranker

SEED = 0


def give_head(source: Path, folder: Path) -> None:
    """Writes model and tokenizer into `folder`; the body's weights are those of `source`, whatever
    stood on them (a masked language model's head) stays behind. Raises UserFault."""
    config = json.loads((source / "config.json").read_bytes())
    if config.get("model_type") not in ARCHITECTURES.values() or names_ranker(config):
        raise _unfit(
            "unknown_architecture",
            f"config.json says architectures {config.get('architectures')!r}, model_type "
            f"{config.get('model_type')!r}.",
            f"A head is given to encoders without one: {', '.join(ARCHITECTURES.values())}.",
        )
    try:
        model, absent = _drawn(source)
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        raise _unfit(
            "weights_mismatch",
            f"transformers cannot put a head on it: {error}",
            "Download the files again; compare their SHA-256 with the publisher's.",
        ) from error
    if absent:
        raise _unfit(
            "weights_mismatch",
            f"{len(absent)} parameters of its body are not in the weights, first: {absent[0]}.",
            "Import the model's whole weights.",
        )
    model.save_pretrained(folder)
    load_tokenizer(source).save_pretrained(folder)


def _drawn(source: Path) -> tuple[Any, list[str]]:
    """(the model, which of its body's parameters were drawn, too); BERT's pooler may be."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(SEED)
        model, told = AutoModelForSequenceClassification.from_pretrained(
            source, num_labels=1, dtype="auto", output_loading_info=True, **FROM_FILES
        )
    body = f"{model.base_model_prefix}."
    return model, [
        name
        for name in sorted(told["missing_keys"])
        if name.startswith(body) and not name.startswith(f"{body}{POOLER}.")
    ]


def _unfit(code: str, message: str, fix: str) -> UserFault:
    return UserFault(code, message, fix=fix, param="head")
