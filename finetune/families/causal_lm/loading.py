"""A base's weights into memory: safetensors only, no code of the model's own, no network."""

import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it

import torch
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForImageTextToText

from finetune.families.contract import Fit, Precision

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "fp64": torch.float64}


def load_base(
    folder: Path, *, dtype: torch.dtype | None = None, attention: str | None = None
) -> Any:
    """A transformers causal LM on the CPU; `dtype` None: as stored, `attention` None: its own.

    Raises OSError, ValueError or KeyError for a folder that is none.
    """
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    chosen = {} if attention is None else {"attn_implementation": attention}
    if dtype == torch.float64:  # the grouped kernel of experts has no float64
        chosen["experts_implementation"] = "eager"
    model = class_for(config).from_pretrained(
        folder,
        config=config,
        dtype="auto" if dtype is None else dtype,
        use_safetensors=True,
        trust_remote_code=False,
        local_files_only=True,
        **chosen,
    )
    _blindfold(model)
    return model


def fit_of(folder: Path) -> Fit:
    """As transformers reads it, onto no device: it renames tensors, and fuses those of experts."""
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    try:
        model, told = class_for(config).from_pretrained(
            folder,
            config=config,
            device_map="meta",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            use_safetensors=True,
            trust_remote_code=False,
            local_files_only=True,
        )
    except Exception as error:  # whatever a stranger's numbers break in any of its modules
        return Fit(
            0, f"the tensors of experts cannot be put together ({type(error).__name__}: {error})"
        )
    return Fit(sum(p.numel() for p in model.parameters()), _misfit(told))


def _misfit(told: dict[str, Any]) -> str | None:
    if absent := sorted(told["missing_keys"]):
        return f"{len(absent)} parameters are not in the weights, first: {absent[0]}"
    for name, found, wanted in sorted(told["mismatched_keys"]):
        return f"{name} has shape {tuple(found)}, config.json asks for {tuple(wanted)}"
    return None


def class_for(config: Any) -> Any:
    """The auto class that knows the whole model: adapters keep the names of its modules."""
    known = type(config) in AutoModelForCausalLM._model_mapping
    return AutoModelForCausalLM if known else AutoModelForImageTextToText


def _blindfold(model: Any) -> None:
    """What reads images is not asked here, and does not stay in memory."""
    if hasattr(model, "model") and hasattr(model.model, "language_model"):
        for name, _ in list(model.model.named_children()):
            if name != "language_model":
                setattr(model.model, name, None)


def sketch_base(folder: Path, precision: Precision, *, layers: int, attention: str) -> Any:
    """The base's shape with only so many layers and random weights."""
    config: Any = AutoConfig.from_pretrained(folder, trust_remote_code=False, local_files_only=True)
    text = config.get_text_config()
    text.num_hidden_layers = layers
    if getattr(text, "layer_types", None):
        text.layer_types = text.layer_types[:layers]
    return AutoModelForCausalLM.from_config(
        text, dtype=DTYPES[precision], attn_implementation=attention
    )
