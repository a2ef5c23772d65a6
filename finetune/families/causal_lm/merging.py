"""An adapter taken into its base: one model's files, and what they are held to."""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from safetensors.torch import save_file
from torch import Tensor
from transformers import GenerationConfig

from faults import OurFault, UserFault
from finetune.families.adapters.arithmetic import LoraLayer
from finetune.families.adapters.files import merged_weight, read_layers
from finetune.families.adapters.packed import load_packed
from finetune.families.causal_lm.loading import load_base
from finetune.families.contract import Expected, Said
from finetune.families.layers import module_of
from finetune.records.encode import RowEncoder, load_tokenizer

SINGLE, INDEX = "model.safetensors", "model.safetensors.index.json"
# Ours, so that no row of anybody's is needed; a question, another language, and code
PROBES = (
    "Which of the two is the heavier one, a kilogram of feathers or a kilogram of iron?",
    "请用一句话说明为什么天空是蓝色的。",
    "def shortest(words):\n    return",
)
FLOAT32 = torch.float32


def merge(base_dir: Path, packed: Path, folder: Path, *, shard_bytes: int) -> dict[str, str]:
    config = json.loads((packed / "adapter_config.json").read_bytes())
    layers = read_layers((packed / "adapter_model.safetensors").read_bytes(), config)
    planned = _planned(base_dir, shard_bytes)
    types: dict[str, str] = {}
    held: dict[str, str] = {}
    total = 0
    for number, names in enumerate(planned, 1):
        shard = {name: _taken(name, path, layers, types) for name, path in names}
        named = SINGLE if len(planned) == 1 else _shard(number, len(planned))
        save_file(shard, folder / named, metadata={"format": "pt"})
        held |= dict.fromkeys(shard, named)
        total += sum(tensor.nbytes for tensor in shard.values())
    if left := sorted(layers):
        raise OurFault("merge_incomplete", f"The base's files hold no weight of {left[0]}.")
    if len(planned) > 1:
        index = {"metadata": {"total_size": total}, "weight_map": dict(sorted(held.items()))}
        (folder / INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
    return types


def _taken(name: str, path: Path, layers: dict[str, LoraLayer], types: dict[str, str]) -> Tensor:
    """A tensor of the base's, with its layer's adapter in it, which is then used up."""
    with safe_open(path, framework="pt") as tensors:
        weight: Tensor = tensors.get_tensor(name)
    layer = layers.pop(module_of(name), None) if name.endswith(".weight") else None
    if layer is None:
        return weight
    wide = torch.promote_types(weight.dtype, FLOAT32)
    merged = merged_weight(module_of(name), layer, weight.to(wide)).to(weight.dtype)
    if not bool(torch.isfinite(merged).all()):
        raise UserFault(
            "form_unsupported",
            f"{name} with the adapter in it is too large for the base's {weight.dtype}.",
            fix="Take the adapter by itself: it stays in float32.",
        )
    types[name] = str(weight.dtype).removeprefix("torch.")
    return merged.contiguous()


def _planned(base_dir: Path, shard_bytes: int) -> list[list[tuple[str, Path]]]:
    """The base's tensors in the order of its files, so many as a shard holds at a time."""
    shards: list[list[tuple[str, Path]]] = [[]]
    size = 0
    for path in sorted(base_dir.glob("*.safetensors")):
        for name, nbytes in _sizes(path):
            if shards[-1] and size + nbytes > shard_bytes:
                shards.append([])
                size = 0
            shards[-1].append((name, path))
            size += nbytes
    return shards


def _sizes(path: Path) -> Iterator[tuple[str, int]]:
    with path.open("rb") as file:
        header: dict[str, Any] = json.loads(file.read(int.from_bytes(file.read(8), "little")))
    for name, told in header.items():
        if name != "__metadata__":
            begins, ends = told["data_offsets"]
            yield name, ends - begins


def _shard(number: int, of: int) -> str:
    return f"model-{number:05d}-of-{of:05d}.safetensors"


# --- what the files are held to -----------------------------------------------------------------


def expected(
    base_dir: Path,
    packed: Path,
    merged: dict[str, str],
    *,
    tokens: int,
    texts: Sequence[str] | None = None,
) -> Expected:
    encoder = RowEncoder(load_tokenizer(base_dir))
    rows = [encoder.render_prompt([{"role": "user", "content": text}]) for text in texts or PROBES]
    base = load_base(base_dir, dtype=FLOAT32).eval()
    ends = sorted(encoder.stop_ids | _ends(base))
    plain = _said(base, rows, ends, 0)
    adapter = load_packed(base, packed)
    adapted = _said(adapter, rows, ends, tokens)
    one = adapter.merge_and_unload()
    for name, type_ in merged.items():
        module = one.get_submodule(module_of(name))
        module.weight.data = module.weight.data.to(getattr(torch, type_)).to(FLOAT32)
    return Expected(rows, adapted, _said(one, rows, ends, tokens), plain)


def _ends(base: Any) -> set[int]:
    named = base.generation_config.eos_token_id
    return {named} if isinstance(named, int) else set(named or ())


@torch.inference_mode()
def _said(model: Any, rows: list[list[int]], ends: list[int], tokens: int) -> Said:
    logits, answers = [], []
    model.generation_config = GenerationConfig(
        do_sample=False, eos_token_id=ends, pad_token_id=ends[0], repetition_penalty=1.0
    )
    for row in rows:
        ids = torch.tensor([row])
        logits.append(model(input_ids=ids, use_cache=False).logits[0].float())
        if tokens:
            mask = torch.ones_like(ids)
            found = model.generate(input_ids=ids, attention_mask=mask, max_new_tokens=tokens)
            answers.append(found[0, len(row) :].tolist())
    return Said(torch.cat(logits), answers)
