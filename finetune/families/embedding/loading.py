"""A base that embeds into memory: safetensors only, no code of the model's own, no network."""

import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it

import torch
from transformers import AutoConfig, AutoModel

from finetune.families.adapters.targets import POOLER
from finetune.families.contract import Fit, Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


def load_base(folder: Path, *, dtype: torch.dtype | None = None) -> Any:
    """A transformers encoder or decoder body on the CPU, without a head; `dtype` None: as stored.

    Its own dropout is off: a step computes a text twice, and both must be the same vector. Raises
    OSError, ValueError or KeyError for a folder that is none.
    """
    model = AutoModel.from_pretrained(
        folder,
        config=config_of(folder),
        dtype="auto" if dtype is None else dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
    )
    return _without_pooler(model)


def fit_of(folder: Path) -> Fit:
    """As transformers reads it, onto no device."""
    try:
        model, told = AutoModel.from_pretrained(
            folder,
            config=config_of(folder),
            device_map="meta",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:  # whatever a stranger's numbers break in any of its modules
        return Fit(0, f"the tensors cannot be put together ({type(error).__name__}: {error})")
    return Fit(sum(p.numel() for p in _without_pooler(model).parameters()), misfit(told))


def misfit(told: dict[str, Any]) -> str | None:
    """What transformers' `output_loading_info` says that does not fit."""
    absent = [name for name in sorted(told["missing_keys"]) if not name.startswith(f"{POOLER}.")]
    if absent:
        return f"{len(absent)} parameters are not in the weights, first: {absent[0]}"
    for name, found, wanted in sorted(told["mismatched_keys"]):
        return f"{name} has shape {tuple(found)}, config.json asks for {tuple(wanted)}"
    return None


def config_of(folder: Path, *, layers: int | None = None) -> Any:
    """transformers' configuration without dropout; `layers`: with no more of them."""
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    for name, value in config.to_dict().items():
        if ("dropout" in name or name.endswith("_drop")) and isinstance(value, float):
            setattr(config, name, 0.0)
    if layers is not None:
        config.num_hidden_layers = layers
        if getattr(config, "layer_types", None):
            config.layer_types = config.layer_types[:layers]
    return config


def _without_pooler(model: Any) -> Any:
    """BERT's pooler was for guessing the next sentence; no vector comes out of it."""
    if hasattr(model, POOLER):
        setattr(model, POOLER, None)
    return model


def sketch_base(folder: Path, precision: Precision, *, layers: int) -> Any:
    """The base's shape with only so many layers and random weights."""
    config = config_of(folder, layers=layers)
    model = AutoModel.from_config(config, dtype=DTYPES[precision])
    return _without_pooler(model)
