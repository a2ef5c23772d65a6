"""Reward models whose random weights tell every conversation from every other."""

import json
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save

from finetune.families import family
from finetune.families.contract import AdapterSpec
from tests.finetune.trainer.runs import encoded


def made(folder: Path, seed: int) -> tuple[Any, bytes, dict[str, Any]]:
    """As training has it, and its files; an even seed's is a DoRA."""
    spec = AdapterSpec(r=4, use_dora=seed % 2 == 0)
    model: Any = family("scoring").load(folder, spec, precision="fp32", device="cpu", seed=seed)
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in model.parameters:
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.1)
    model.train(False)
    return model, save(model.adapter_state()), model.adapter_config("tiny")


def score_of(model: Any, folder: Path, *messages: dict[str, Any]) -> float:
    """Raw, as in training, where rows are scored one by one."""
    (row,) = encoded(folder, [{"messages": list(messages)}])
    with torch.no_grad():
        return float(model.scores(model.lay_out([row], share_prefixes=False)))


def written(folder: Path, out: Path, seed: int) -> tuple[Any, Path]:
    """The model, and a folder of its files."""
    model, weights, config = made(folder, seed)
    out.mkdir(parents=True)
    (out / "adapter_model.safetensors").write_bytes(weights)
    (out / "adapter_config.json").write_text(json.dumps(config))
    return model, out
