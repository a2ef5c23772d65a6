"""A base that ranks into memory: safetensors only, no code of the model's own, no network."""

import os
from pathlib import Path
from typing import Any

os.environ["HF_HUB_OFFLINE"] = "1"  # before transformers reads it

import torch
from transformers import AutoModelForSequenceClassification

from finetune.families.contract import Fit, Precision
from finetune.families.embedding.loading import DTYPES, config_of, misfit

FROM_FILES: dict[str, Any] = {
    "use_safetensors": True,
    "trust_remote_code": False,
    "local_files_only": True,
}


def load_base(folder: Path, *, dtype: torch.dtype) -> Any:
    """A transformers encoder with its head of one label, on the CPU. Its own dropout is off.

    Raises OSError, ValueError or KeyError for a folder that is none.
    """
    return AutoModelForSequenceClassification.from_pretrained(
        folder, config=config_of(folder), dtype=dtype, **FROM_FILES
    )


def fit_of(folder: Path) -> Fit:
    """As transformers reads it, onto no device; a head that is missing is not drawn."""
    try:
        model, told = AutoModelForSequenceClassification.from_pretrained(
            folder,
            config=config_of(folder),
            device_map="meta",
            ignore_mismatched_sizes=True,
            output_loading_info=True,
            **FROM_FILES,
        )
    except Exception as error:  # whatever a stranger's numbers break in any of its modules
        return Fit(0, f"the tensors cannot be put together ({type(error).__name__}: {error})")
    return Fit(sum(p.numel() for p in model.parameters()), misfit(told))


def sketch_base(folder: Path, precision: Precision, *, layers: int) -> Any:
    """The base's shape with only so many layers and random weights."""
    config = config_of(folder, layers=layers)
    return AutoModelForSequenceClassification.from_config(config, dtype=DTYPES[precision])
