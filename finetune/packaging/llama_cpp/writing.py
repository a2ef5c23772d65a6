"""Writes a merged model's folder as one GGUF file, a tensor at a time."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import torch
from safetensors import safe_open

from finetune.packaging.llama_cpp import vocabulary
from finetune.packaging.llama_cpp.architecture import Architecture, unsupported
from finetune.packaging.llama_cpp.mixture import MIXTURES, Tensor, Type, type_of
from finetune.packaging.llama_cpp.native import Floats, quantised
from finetune.records.encode import load_tokenizer

_BLOCK = re.compile(r"blk\.(\d+)\.")
_HEAD = "lm_head.weight"
_FREQUENCIES = "rope_freqs.weight"
_LARGEST = float(np.finfo(np.float16).max)


def write_gguf(
    model: Path, path: Path, *, form: str, name: str, stops: list[int]
) -> dict[str, int]:
    """How many tensors there are of each type. `stops`: tokens that end an answer. Raises UserFault
    `form_unsupported`."""
    kind = Architecture.of(json.loads((model / "config.json").read_bytes()))
    out = gguf.GGUFWriter(path, kind.name)
    out.add_name(name)
    out.add_file_type(MIXTURES[form][0])
    out.add_quantization_version(gguf.GGML_QUANT_VERSION)
    kind.describe(out)
    tokenizer = load_tokenizer(model)
    core = json.loads((model / "tokenizer.json").read_bytes())
    vocabulary.describe(out, tokenizer, core, kind.config, stops=stops)
    planned = list(_planned(model, kind, form))
    for tensor, _, type_ in planned:
        # a numpy type says nothing here: raw_dtype does
        shape = gguf.quant_shape_to_byte_shape(tensor.shape, type_)
        nbytes = int(np.prod(shape))
        out.add_tensor_info(tensor.name, shape, np.dtype(np.uint8), nbytes, raw_dtype=type_)
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.write_ti_data_to_file()
    for tensor, source, type_ in planned:
        out.write_tensor_data(_packed(tensor, _read(source, kind), type_))
    out.close()
    return _counted(type_ for _, _, type_ in planned)


def _planned(
    model: Path, kind: Architecture, form: str
) -> Iterator[tuple[Tensor, "tuple[str, Path] | Floats", Type]]:
    """Each tensor, where it comes from (transformers' name and file, or itself) and its type."""
    names = gguf.get_tensor_name_map(_number(kind.name), kind.blocks)
    factors = kind.frequencies()
    if factors is not None:
        yield Tensor(_FREQUENCIES, factors.shape, kind.blocks, -1, False), factors, Type.F32
    for path in sorted(model.glob("*.safetensors")):
        with safe_open(path, framework="pt") as tensors:
            for source in tensors.keys():  # noqa: SIM118 - not a mapping
                if source == _HEAD and kind.tied:
                    continue
                found = names.get_name(source, try_suffixes=(".weight", ".bias"))
                if found is None:
                    raise unsupported(f"llama.cpp has no place for its weight {source}")
                tensor = _tensor(found, tensors.get_slice(source).get_shape(), kind)
                yield tensor, (source, path), type_of(form, tensor)


def _number(architecture: str) -> Any:
    return next(each for each, name in gguf.MODEL_ARCH_NAMES.items() if name == architecture)


def _tensor(name: str, shape: list[int], kind: Architecture) -> Tensor:
    block = _BLOCK.match(name)
    ends = name == "output.weight" or (kind.tied and name == "token_embd.weight")
    return Tensor(name, tuple(shape), kind.blocks, int(block[1]) if block else -1, ends)


def _read(source: "tuple[str, Path] | Floats", kind: Architecture) -> Floats:
    if isinstance(source, np.ndarray):
        return source
    name, path = source
    with safe_open(path, framework="pt") as tensors:
        weight: Floats = tensors.get_tensor(name).to(torch.float32).numpy()
    return kind.turned(name, weight)


def _packed(tensor: Tensor, weight: Floats, type_: Type) -> Any:
    if type_ == Type.F32:
        return weight
    if type_ == Type.F16:
        if float(np.abs(weight).max()) > _LARGEST:
            raise unsupported(f"its weight {tensor.name} is too large for 16 bits")
        return weight.astype(np.float16)
    row_bytes = gguf.quant_shape_to_byte_shape(tensor.shape, type_)[-1]
    return quantised(weight, int(type_), row_bytes)


def _counted(types: Iterator[Type]) -> dict[str, int]:
    found: dict[str, int] = {}
    for each in types:
        found[each.name] = found.get(each.name, 0) + 1
    return dict(sorted(found.items()))
