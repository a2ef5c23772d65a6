"""Rows that ruin a step, for tests and for the exercise in benchmarks/stability.py."""

import random
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from finetune.families.causal_lm.adapted import CausalLM
from finetune.records.encode import load_tokenizer
from finetune.records.kinds import Item
from finetune.trainer.objectives.contract import Objective, Sums
from finetune.trainer.objectives.sft import SFT

MARK = "~"
"""Stands in no row of `chat_rows`."""

Kind = Literal["labels", "loss", "overflow"]
TIMES = 1e4


def poisoned(rows: list[dict[str, Any]], where: Iterable[int]) -> list[dict[str, Any]]:
    """Copies, of which those at `where` (from 0) have an absurd answer, with the mark in it."""
    found = list(rows)
    for place in where:
        *asked, answer = found[place]["messages"]
        absurd = (MARK + answer["content"][::-1])[: len(answer["content"])]
        found[place] = {"messages": [*asked, answer | {"content": absurd}]}
    return found


def places(seed: int, rows: int, count: int) -> list[int]:
    return sorted(random.Random(seed).sample(range(rows), count))


def sick(base: Path, kind: Kind) -> Objective:
    """SFT for which marked rows are garbage: `labels`: by their answers alone; `loss`: theirs, and
    so their gradient, is `TIMES` too large; `overflow`: their embeddings are infinite."""
    (mark,) = load_tokenizer(base)(MARK, add_special_tokens=False)["input_ids"]

    def sums(model: CausalLM, batch: Any, items: Sequence[Item]) -> Sums:
        if kind == "overflow":
            _overflow_at(model, mark)
        whole = SFT.sums(model, batch, items)
        marked = [sequence for item in items for sequence in item.sequences if _has(sequence, mark)]
        if kind != "loss" or not marked:
            return whole
        alone, _ = model.cross_entropy(model.lay_out(marked, share_prefixes=False))
        return replace(whole, loss=whole.loss + TIMES * alone)

    return replace(SFT, sums=sums)


def _has(sequence: Any, token: int) -> bool:
    return token in list(sequence.input_ids)


def _overflow_at(model: CausalLM, token: int) -> None:
    embeddings = model.inner.get_input_embeddings()
    if embeddings._forward_hooks:
        return

    def overflow(_module: Any, given: tuple[Tensor], out: Tensor) -> Tensor:
        return out.masked_fill((given[0] == token)[..., None], torch.inf)

    embeddings.register_forward_hook(overflow)
