"""The linear layers of a base that an adapter can be put on, told from the headers of its weights'
files, and which tensors an adapter may hold. Nothing is loaded, and no torch is needed."""

import json
import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from finetune.records.recipe import has_recipe

HEADER = 8  # bytes that say how long a safetensors file's header is
# Matrices that are no linear layer of the body: "all-linear" leaves them as they are.
NOT_LINEAR = frozenset(
    [
        *("lm_head", "embed_out", "embed_tokens", "embed_in", "wte", "wpe"),
        *("word_embeddings", "position_embeddings", "token_type_embeddings", "tok_embeddings"),
        "relative_attention_bias",
    ]
)
WORDS = ("embed_tokens.weight", "word_embeddings.weight", "tok_embeddings.weight")
"""As the bases that embed name the vectors of their tokens, by the end."""
# The text model of a base that reads images, too: as the hub's files name it, and as modules are
TEXT_WITHIN = re.compile(r"(language_model\.model|model\.language_model)\.")
ADAPTER_TENSOR = re.compile(
    r"base_model\.model\.(?P<module>.+)\."
    r"(?P<part>lora_A|lora_B|lora_magnitude_vector)(\.default)?(\.weight)?"
)
"""A tensor in peft's adapter_model.safetensors: LoRA's two factors, DoRA's magnitudes."""


SCORE = "base_model.model.score.weight"
"""The head of a reward model, which is trained with its adapter and goes with it."""


class LinearLayer(NamedTuple):
    name: str  # as the model's modules are named, "model.layers.0.self_attn.q_proj"
    out: int
    into: int


@lru_cache(maxsize=64)
def linear_layers(base_dir: Path) -> tuple[LinearLayer, ...]:
    """Of attention only where the base has a mixture of experts, and of the text model where it
    reads images, too. Raises OSError or ValueError when the base cannot be read; a few kilobytes
    are."""
    tensors = {
        name: _shape(tensor)
        for path in sorted(base_dir.glob("*.safetensors"))
        for name, tensor in _header(path).items()
    }
    found = []
    for name, shape in tensors.items():
        module, _, kind = name.rpartition(".")
        linear = module.rpartition(".")[2] not in NOT_LINEAR
        if kind == "weight" and len(shape) == 2 and linear:
            found.append(LinearLayer(module, shape[0], shape[1]))
    if not found:
        raise FileNotFoundError(f"{base_dir} holds no weights")
    if has_recipe(base_dir):  # its body alone is loaded, and no pooler
        named = (layer._replace(name=layer.name.removeprefix("model.")) for layer in found)
        found = [layer for layer in named if not layer.name.startswith("pooler.")]
    if any(TEXT_WITHIN.match(name) for name in tensors):
        found = [
            LinearLayer(TEXT_WITHIN.sub("model.language_model.", layer.name), *layer[1:])
            for layer in found
            if TEXT_WITHIN.match(layer.name)
        ]
    if any(".experts." in name for name in tensors):
        found = [layer for layer in found if ".self_attn." in layer.name]
    return tuple(found)


def module_of(tensor: str) -> str:
    """The linear layer, as `linear_layers` names it, whose weight a tensor of the base's files
    is."""
    return TEXT_WITHIN.sub("model.language_model.", tensor.removesuffix(".weight"), count=1)


@lru_cache(maxsize=64)
def tensor_shapes(base_dir: Path) -> dict[str, tuple[int, ...]]:
    """Of every tensor of a base, by name. Raises OSError or ValueError when it cannot be read."""
    found = {}
    for path in sorted(base_dir.glob("*.safetensors")):
        for name, tensor in _header(path).items():
            if shape := _shape(tensor):
                found[name] = tuple(shape)
    if not found:
        raise FileNotFoundError(f"{base_dir} holds no weights")
    return found


def vector_width(base_dir: Path) -> int:
    """Dimensions of the vectors that a base makes of texts: a token has as many. Raises OSError or
    ValueError when it cannot be read."""
    for name, shape in tensor_shapes(base_dir).items():
        if name.endswith(WORDS):
            return shape[1]
    raise ValueError(f"{base_dir} holds no vectors of tokens")


def is_target(name: str, targets: Iterable[str]) -> bool:
    """As peft matches names: the whole one, or its last parts."""
    return any(name == each or name.endswith(f".{each}") for each in targets)


def unmatched(targets: Sequence[str], names: Iterable[str]) -> list[str]:
    """Those that name none of the layers `names`; peft passes over them as long as one does."""
    known = {
        name.split(".", skipped)[-1] for name in names for skipped in range(name.count(".") + 1)
    }
    return [each for each in targets if each not in known]


def foreign_tensors(names: Iterable[str], base_dir: Path, *, scores: bool = False) -> list[str]:
    """Those of an adapter's tensors that are no part of an adapter on the base's linear layers:
    weights of the base among them. `scores`: the head of a reward model is none of these."""
    layers = {layer.name for layer in linear_layers(base_dir)}
    own = {SCORE} if scores else set()
    matches = {name: ADAPTER_TENSOR.fullmatch(name) for name in names if name not in own}
    return [name for name, found in matches.items() if not found or found["module"] not in layers]


def _shape(tensor: Any) -> list[int]:
    """Of a header's entry; the one that is no tensor, `__metadata__`, has none."""
    return [int(size) for size in tensor.get("shape", ())]


def _header(path: Path) -> dict[str, Any]:
    with path.open("rb") as file:
        size = int.from_bytes(file.read(HEADER), "little")
        header: dict[str, Any] = json.loads(file.read(size))
    return header
