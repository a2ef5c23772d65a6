"""How large an adapter will be, told from the shapes of the base's weights before any training."""

from pathlib import Path

from finetune.families.contract import AdapterSpec
from finetune.families.layers import is_target, linear_layers

BYTES = 4  # adapters and their optimizer are kept in float32
MOMENTS = 2  # AdamW keeps two numbers for each of the adapter's


def adapter_bytes(base_dir: Path, adapter: AdapterSpec) -> int:
    """Of adapter_model.safetensors: A is [r, in], B is [out, r], and DoRA adds [out]. An adapter
    that begins in the base is written with twice the rank.

    Raises OSError or ValueError when the base cannot be read.
    """
    numbers = 0
    for name, out, into in linear_layers(base_dir):
        if adapter.targets == "all-linear" or is_target(name, adapter.targets):
            numbers += adapter.written_rank * (out + into) + (out if adapter.use_dora else 0)
    return numbers * BYTES


def checkpoint_bytes(adapter: int, *, watched: bool) -> int:
    """At most, of a checkpoint with an adapter of so many bytes: the optimizer's moments lie beside
    it and, where blow-ups are watched for, the state that was good before."""
    return adapter * (1 + MOMENTS) * (2 if watched else 1)
