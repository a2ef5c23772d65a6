"""A packed adapter on its base, as stock peft loads it."""

import warnings
from pathlib import Path
from typing import Any

from peft import PeftModel
from torch import Tensor

from faults import OurFault


def load_packed(base: Any, packed: Path) -> Any:
    """peft leaves tensors that it misses as they were made, and only warns: OurFault
    `parity_failed`."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            return PeftModel.from_pretrained(base, packed).eval()
        except (UserWarning, RuntimeError) as error:  # RuntimeError: another shape
            text = f"peft does not find its tensors in the packed adapter: {error}"
            raise OurFault("parity_failed", text, where=str(packed)) from error


def largest_gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
