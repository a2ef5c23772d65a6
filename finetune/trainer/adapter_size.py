"""How large an adapter will be, told from the shapes of the base's weights before any training."""

import json
from functools import lru_cache
from pathlib import Path
from typing import Any

from finetune.families.contract import AdapterSpec

BYTES = 4  # adapters and their optimizer are kept in float32
MOMENTS = 2  # AdamW keeps two numbers for each of the adapter's
HEADER = 8  # bytes that say how long a safetensors file's header is
# Matrices that are no linear layer of the body: "all-linear" leaves them as they are.
NOT_LINEAR = frozenset({"lm_head", "embed_out", "embed_tokens", "embed_in", "wte", "wpe"})


def adapter_bytes(base_dir: Path, adapter: AdapterSpec) -> int:
    """Of adapter_model.safetensors: A is [r, in], B is [out, r], and DoRA adds [out].

    Raises OSError or ValueError when the base cannot be read.
    """
    numbers = 0
    for name, out, into in linear_layers(base_dir):
        if _is_target(name, adapter):
            numbers += adapter.r * (out + into) + (out if adapter.use_dora else 0)
    return numbers * BYTES


def checkpoint_bytes(adapter: int) -> int:
    """Of a checkpoint with an adapter of so many bytes: the optimizer's moments lie beside it."""
    return adapter * (1 + MOMENTS)


@lru_cache(maxsize=64)
def linear_layers(base_dir: Path) -> tuple[tuple[str, int, int], ...]:
    """(name, out, in) of each; read from the headers of the weights' files, a few kilobytes."""
    found = []
    for path in sorted(base_dir.glob("*.safetensors")):
        for name, tensor in _header(path).items():
            module, _, kind = name.rpartition(".")
            shape = _shape(tensor)
            linear = module.rpartition(".")[2] not in NOT_LINEAR
            if kind == "weight" and len(shape) == 2 and linear:
                found.append((module, shape[0], shape[1]))
    if not found:
        raise FileNotFoundError(f"{base_dir} holds no weights")
    return tuple(found)


def _shape(tensor: Any) -> list[int]:
    """Of a header's entry; the one that is no tensor, `__metadata__`, has none."""
    return [int(size) for size in tensor.get("shape", ())]


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(HEADER), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    return header


def _is_target(name: str, adapter: AdapterSpec) -> bool:
    """As peft matches names."""
    if adapter.targets == "all-linear":
        return True
    return any(name == each or name.endswith(f".{each}") for each in adapter.targets)
