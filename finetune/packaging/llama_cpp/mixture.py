"""In which of ggml's types each tensor is stored. Q4_K_M is llama.cpp's own mixture of that name:
what a file is called by says what is in it."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from gguf import GGML_QUANT_SIZES, GGMLQuantizationType, LlamaFileType

Type = GGMLQuantizationType
_LARGEST = 80  # blocks: llama.cpp knows its 70B by them, and gives its values more bits
# For rows that are no multiple of 256
_SMALLER = {Type.Q4_K: Type.Q5_0, Type.Q5_K: Type.Q5_1, Type.Q6_K: Type.Q8_0}


@dataclass(frozen=True)
class Tensor:
    """`name` and `block` as llama.cpp has them; `block` -1 outside; `ends`: the head, or the
    embeddings where they are the head, too."""

    name: str
    shape: Sequence[int]
    blocks: int
    block: int
    ends: bool


def _half(tensor: Tensor) -> Type:
    return Type.F16


def _eight(tensor: Tensor) -> Type:
    return Type.Q8_0


def _four(tensor: Tensor) -> Type:
    if tensor.ends:
        return Type.Q6_K if tensor.shape[-1] % 256 == 0 else Type.Q8_0
    values = ".attn_v." in tensor.name
    if (values or ".ffn_down." in tensor.name) and _more_bits(tensor.block, tensor.blocks):
        return Type.Q6_K
    if values and tensor.blocks == _LARGEST:
        return Type.Q5_K
    return Type.Q4_K


def _more_bits(block: int, blocks: int) -> bool:
    """The first eighth, the last one, and every third between."""
    eighth = blocks // 8
    return block < eighth or block >= 7 * blocks // 8 or (block - eighth) % 3 == 2


# The form's name -> the file's own, and the choice
MIXTURES: dict[str, tuple[Any, Callable[[Tensor], Type]]] = {
    "gguf-f16": (LlamaFileType.MOSTLY_F16, _half),
    "gguf-q8_0": (LlamaFileType.MOSTLY_Q8_0, _eight),
    "gguf-q4_k_m": (LlamaFileType.MOSTLY_Q4_K_M, _four),
}


def type_of(form: str, tensor: Tensor) -> Type:
    if len(tensor.shape) == 1:
        return Type.F32
    chosen = MIXTURES[form][1](tensor)
    if tensor.shape[-1] % GGML_QUANT_SIZES[chosen][0]:
        chosen = _SMALLER.get(chosen, Type.F16)
    return chosen if tensor.shape[-1] % GGML_QUANT_SIZES[chosen][0] == 0 else Type.F16
