"""Adapters that begin as a part of the base's weights: PiSSA's largest singular values (Meng et al.
2024), OLoRA's first columns of Q (Büyükakyüz 2024).

peft takes that part off the base's weights, and the adapter fits this changed base alone. Here the
base stays as it is and the adapter takes it off: beside A and B stand those that they began as,
B's with the other sign, and are not trained. So W + s [B, -B0] [A; A0] is what both ways compute,
and the file, an ordinary LoRA of twice the rank, fits the base that the licence is for.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn

from finetune.families.adapters.arithmetic import LoraLayer


@dataclass(frozen=True, eq=False)
class Still:
    """What is written behind a trained tensor, along which axis."""

    tensor: Tensor
    axis: int


@torch.no_grad()
def begin_in_base(
    layers: Mapping[str, LoraLayer], linear: Mapping[str, nn.Linear], way: str
) -> dict[str, LoraLayer]:
    """The layers, whose A and B are set in place. Raises ValueError where a layer is narrower than
    the rank."""
    begun = {}
    for name, layer in layers.items():
        weight, r = linear[name].weight, layer.down.shape[0]
        if r > min(weight.shape):
            raise ValueError(
                f"{name} is {min(weight.shape)} wide, so {way} finds no {r} directions in it."
            )
        down, up = _beginning(weight, r, layer.scale, way)
        layer.down.copy_(down)
        layer.up.copy_(up)
        begun[name] = replace(layer, still=(layer.down.detach().clone(), -layer.up.detach()))
    return begun


def _beginning(weight: Tensor, r: int, scale: float, way: str) -> tuple[Tensor, Tensor]:
    """(A [r, in], B [out, r]), in float32 or the weight's wider type."""
    wide = weight.to(torch.promote_types(weight.dtype, torch.float32))
    if way == "olora":
        q, triangle = torch.linalg.qr(wide)
        return triangle[:r], q[:, :r]
    if way == "pissa":
        u, s, v_t = torch.linalg.svd(wide, full_matrices=False)
    else:  # pissa_niter_N: the fast one, by Halko et al. 2011
        u, s, v = torch.svd_lowrank(wide, r, niter=int(way.rpartition("_")[2]))
        v_t = v.t()
    root = (s[:r] / scale).sqrt()
    return root[:, None] * v_t[:r], u[:, :r] * root


def stills(layers: Mapping[str, LoraLayer], saved: Mapping[str, nn.Parameter]) -> dict[str, Still]:
    """By the names that the files have for A and B."""
    found = {}
    for layer in layers.values():
        assert layer.still is not None
        found[id(layer.down)] = Still(layer.still[0], axis=0)
        found[id(layer.up)] = Still(layer.still[1], axis=1)
    return {name: found[id(p)] for name, p in saved.items() if id(p) in found}


def written_config(config: dict[str, Any], *, doubled: bool) -> dict[str, Any]:
    """Of peft's settings, those of the files: what they began as is nothing that a reader needs,
    and peft would change the base for some. Twice the rank keeps its scale by another alpha."""
    written = {key: value for key, value in config.items() if key != "init_lora_weights"}
    if doubled:
        written["r"] = 2 * config["r"]
        factor = math.sqrt(2) if config["use_rslora"] else 2
        written["lora_alpha"] = factor * config["lora_alpha"]
    return written
