"""LoRA adapters from bytes in memory, applied so that each row of a batch may use another one.

Covers what the trainer makes: LoRA, rsLoRA and DoRA on linear layers. Anything else is refused,
since an adapter applied in part would answer wrongly without a word.
"""

import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn
from torch.nn import functional as F

from faults import UserFault

# Settings of peft's LoraConfig under which the tensors mean something else than applied here.
_REFUSED = (
    "fan_in_fan_out",
    "modules_to_save",
    "layer_replication",
    "trainable_token_indices",
    "target_parameters",
    "alora_invocation_tokens",
    "lora_bias",
    "use_qalora",
    "use_bdlora",
    "arrow_config",
    "kasa_config",
    "monteclora_config",
    "velora_config",
)
_TENSOR = re.compile(
    r"^base_model\.model\.(?P<module>.+)\."
    r"(?P<part>lora_A|lora_B|lora_magnitude_vector)(\.default)?(\.weight)?$"
)


@dataclass(frozen=True)
class LoraLayer:
    """down [r, in], up [out, r] with the scaling in it; gain [out]: DoRA's magnitude / norm."""

    down: Tensor
    up: Tensor
    gain: Tensor | None

    def apply(self, inputs: Tensor, output: Tensor, bias: Tensor | None) -> Tensor:
        """inputs [..., in] and the plain layer's output [..., out] -> the adapted output."""
        change = F.linear(F.linear(inputs, self.down), self.up)
        if self.gain is None:
            return output + change
        plain = output if bias is None else output - bias
        adapted = self.gain * (plain + change)  # section 4.1 of Liu et al. 2024
        return adapted if bias is None else adapted + bias


@dataclass(frozen=True)
class Adapter:
    digest: str
    layers: dict[str, LoraLayer]  # by the base's module name

    @property
    def nbytes(self) -> int:
        tensors = (t for x in self.layers.values() for t in (x.down, x.up, x.gain) if t is not None)
        return sum(t.numel() * t.element_size() for t in tensors)


def read_adapter(
    model: nn.Module, digest: str, safetensors: bytes, config: dict[str, Any]
) -> Adapter:
    """Check every tensor against the base and bring it to the base's type and device.

    Raises UserFault `adapter_unsupported` or `adapter_mismatch`.
    """
    _check_config(config)
    parts = _sort_tensors(safetensors)
    modules = dict(model.named_modules())
    layers = {}
    for name, tensors in parts.items():
        module = modules.get(name)
        if not isinstance(module, nn.Linear):
            raise _mismatch(f"the base has no linear layer {name}")
        layers[name] = _layer(name, module, tensors, config)
    return Adapter(digest, layers)


def _check_config(config: dict[str, Any]) -> None:
    if config.get("peft_type") != "LORA":
        raise _unsupported(f"peft_type {config.get('peft_type')!r} is not LORA")
    for key in _REFUSED:
        if config.get(key):
            raise _unsupported(f"the setting {key} is in use")
    if config.get("bias", "none") != "none":
        raise _unsupported("biases were trained")
    if isinstance(config.get("init_lora_weights"), str) and config["init_lora_weights"] not in (
        "gaussian",
        "orthogonal",
        "eva",
    ):
        raise _unsupported(f"initialisation {config['init_lora_weights']} altered the base")


def _sort_tensors(safetensors: bytes) -> dict[str, dict[str, Tensor]]:
    try:
        loaded = load_safetensors(safetensors)
    except SafetensorError as error:
        raise _unsupported(f"the weights are not safetensors ({error})") from error
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in loaded.items():
        match = _TENSOR.match(key)
        if match is None:
            raise _unsupported(f"the tensor {key} is of no known kind")
        parts.setdefault(match["module"], {})[match["part"]] = tensor
    if not parts:
        raise _unsupported("the weights are empty")
    return parts


def _layer(
    name: str, module: nn.Linear, tensors: dict[str, Tensor], config: dict[str, Any]
) -> LoraLayer:
    down, up = tensors.get("lora_A"), tensors.get("lora_B")
    if down is None or up is None:
        raise _mismatch(f"{name} lacks one of lora_A and lora_B")
    rank = down.shape[0]
    expected = (rank, module.in_features), (module.out_features, rank)
    if (tuple(down.shape), tuple(up.shape)) != expected:
        raise _mismatch(f"{name} has shapes {tuple(down.shape)}, {tuple(up.shape)}")
    scaled = up.float() * _scaling(name, rank, config)
    gain = tensors.get("lora_magnitude_vector")
    if (gain is not None) != bool(config.get("use_dora")):
        raise _mismatch(f"{name}: use_dora and the magnitude vectors disagree")
    weight = module.weight
    if gain is not None:
        merged = weight.float() + (scaled @ down.float()).to(weight.device)
        gain = gain.to(weight.device).float() / merged.norm(dim=1)
    fit = partial(Tensor.to, device=weight.device, dtype=weight.dtype)
    return LoraLayer(fit(down), fit(scaled), None if gain is None else fit(gain))


def _scaling(name: str, rank: int, config: dict[str, Any]) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA, with peft's rules for `alpha_pattern`."""
    alpha = float(config.get("lora_alpha", 8))
    for key, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            alpha = float(value)
            break
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


class AdapterSwitch:
    """Hooks on a base's linear layers that apply, to each row, the adapter chosen for this call."""

    def __init__(self, model: nn.Module) -> None:
        self._model = model
        self._hooked: set[str] = set()
        self._groups: list[tuple[Adapter, Tensor | None]] = []

    @contextmanager
    def using(self, rows: list[Adapter | None], device: torch.device) -> Iterator[None]:
        """Adapters of a batch's rows for the forward calls inside."""
        self._groups = _group(rows, device)
        for adapter, _ in self._groups:
            self._hook(adapter.layers)
        try:
            yield
        finally:
            self._groups = []

    def _hook(self, names: Iterable[str]) -> None:
        for name in set(names) - self._hooked:
            module = self._model.get_submodule(name)
            module.register_forward_hook(self._make_hook(name))
            self._hooked.add(name)

    def _make_hook(self, name: str) -> Any:
        def adapt(module: nn.Linear, inputs: tuple[Tensor], output: Tensor) -> Tensor:
            for adapter, rows in self._groups:
                layer = adapter.layers.get(name)
                if layer is None:
                    continue
                if rows is None:
                    return layer.apply(inputs[0], output, module.bias)
                output[rows] = layer.apply(inputs[0][rows], output[rows], module.bias)
            return output

        return adapt


def _group(rows: list[Adapter | None], device: torch.device) -> list[tuple[Adapter, Tensor | None]]:
    """(adapter, its rows), where None stands for all rows and spares the indexing."""
    found: dict[int, tuple[Adapter, list[int]]] = {}
    for row, adapter in enumerate(rows):
        if adapter is not None:
            found.setdefault(id(adapter), (adapter, []))[1].append(row)
    if len(found) == 1 and all(adapter is not None for adapter in rows):
        return [(adapter, None) for adapter, _ in found.values()]
    return [(adapter, torch.tensor(at, device=device)) for adapter, at in found.values()]


def _unsupported(reason: str) -> UserFault:
    return UserFault(
        "adapter_unsupported",
        f"This adapter cannot be served: {reason}.",
        fix="Train LoRA, rsLoRA or DoRA on linear layers, or merge the adapter into a base.",
    )


def _mismatch(reason: str) -> UserFault:
    return UserFault(
        "adapter_mismatch",
        f"This adapter does not fit the base: {reason}.",
        fix="Serve it on the base it was trained on.",
    )
