"""A base's weights into memory: safetensors only, no code of the model's own, no network."""

import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it

import torch
from transformers import AutoConfig, AutoModelForCausalLM

from finetune.families.contract import Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


def load_base(
    folder: Path, *, dtype: torch.dtype | None = None, attention: str | None = None
) -> Any:
    """A transformers causal LM on the CPU; `dtype` None: as stored, `attention` None: its own.

    Raises OSError, ValueError or KeyError for a folder that is none.
    """
    config = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    chosen = {} if attention is None else {"attn_implementation": attention}
    return AutoModelForCausalLM.from_pretrained(
        folder,
        config=config,
        dtype="auto" if dtype is None else dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **chosen,
    )


def sketch_base(folder: Path, precision: Precision, *, layers: int, attention: str) -> Any:
    """The base's shape with only so many layers and random weights."""
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    config.num_hidden_layers = layers
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:layers]
    return AutoModelForCausalLM.from_config(
        config, dtype=DTYPES[precision], attn_implementation=attention
    )
