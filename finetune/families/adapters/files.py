"""An adapter out of peft's files, from bytes in memory, checked tensor by tensor against a base.

Covers what the trainer makes: LoRA, rsLoRA and DoRA on linear layers. Anything else is refused,
since an adapter applied in part would answer wrongly without a word.
"""

import re
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_safetensors
from torch import Tensor, nn

from faults import UserFault
from finetune.families.adapters.arithmetic import LoraLayer
from finetune.families.adapters.assignment import Adapter
from finetune.families.layers import ADAPTER_TENSOR, SCORE

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


def read_adapter(
    model: nn.Module, safetensors: bytes, config: dict[str, Any], *, may_score: bool = False
) -> Adapter:
    """Check every tensor against the base and bring it to the base's type and device. `may_score`:
    that of a reward model, with its head, will do as well.

    Raises UserFault `adapter_unsupported` or `adapter_mismatch`.
    """
    modules = dict(model.named_modules())
    tensors, head = _loaded(safetensors), None
    if may_score and config.get("modules_to_save") == ["score"]:
        head = _head(model, tensors.pop(SCORE, None))
        config = config | {"modules_to_save": None}
    layers = {}
    for name, read in _read(tensors, config).items():
        module = modules.get(name)
        if not isinstance(module, nn.Linear):
            raise _mismatch(f"the base has no linear layer {name}")
        _require_fit(name, read, module.weight)
        layers[name] = read.settled(module.weight)
    return Adapter(layers, head)


def read_layers(safetensors: bytes, config: dict[str, Any]) -> dict[str, LoraLayer]:
    """By the module's name, as they lie in the files. Raises as `read_adapter`."""
    return _read(_loaded(safetensors), config)


def _read(tensors: dict[str, Tensor], config: dict[str, Any]) -> dict[str, LoraLayer]:
    _check_config(config)
    parts = _sort_tensors(tensors)
    return {name: _layer(name, tensors, config) for name, tensors in parts.items()}


def _head(model: Any, head: Tensor | None) -> Tensor:
    """In float32 or wider, as it was trained, whatever the base's type is."""
    if head is None:
        raise _unsupported("it is a reward model's, and its head is missing")
    if tuple(head.shape) != (1, int(model.config.get_text_config().hidden_size)):
        raise _mismatch(f"the head has the shape {tuple(head.shape)}")
    device = next(iter(model.parameters())).device
    return head.to(device, torch.promote_types(head.dtype, torch.float32))


def merged_weight(name: str, layer: LoraLayer, weight: Tensor) -> Tensor:
    """The layer taken into the base's weight, in `weight`'s type. Raises UserFault
    `adapter_mismatch`."""
    _require_fit(name, layer, weight)
    return layer.merged(weight)


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


def _loaded(safetensors: bytes) -> dict[str, Tensor]:
    try:
        return load_safetensors(safetensors)
    except SafetensorError as error:
        raise _unsupported(f"the weights are not safetensors ({error})") from error


def _sort_tensors(loaded: dict[str, Tensor]) -> dict[str, dict[str, Tensor]]:
    parts: dict[str, dict[str, Tensor]] = {}
    for key, tensor in loaded.items():
        match = ADAPTER_TENSOR.fullmatch(key)
        if match is None:
            raise _unsupported(f"the tensor {key} is of no known kind")
        parts.setdefault(match["module"], {})[match["part"]] = tensor
    if not parts:
        raise _unsupported("the weights are empty")
    return parts


def _layer(name: str, tensors: dict[str, Tensor], config: dict[str, Any]) -> LoraLayer:
    down, up = tensors.get("lora_A"), tensors.get("lora_B")
    if down is None or up is None:
        raise _mismatch(f"{name} lacks one of lora_A and lora_B")
    magnitude = tensors.get("lora_magnitude_vector")
    if (magnitude is not None) != bool(config.get("use_dora")):
        raise _mismatch(f"{name}: use_dora and the magnitude vectors disagree")
    return LoraLayer(down, up, _scaling(name, down.shape[0], config), magnitude=magnitude)


def _require_fit(name: str, layer: LoraLayer, weight: Tensor) -> None:
    rank, (out, into) = layer.down.shape[0], weight.shape
    found = tuple(layer.down.shape), tuple(layer.up.shape)
    if found != ((rank, into), (out, rank)):
        raise _mismatch(f"{name} has shapes {found[0]}, {found[1]}")


def _scaling(name: str, rank: int, config: dict[str, Any]) -> float:
    """alpha / r, or alpha / sqrt(r) for rsLoRA, with peft's rules for `alpha_pattern`."""
    alpha = float(config.get("lora_alpha", 8))
    for key, value in (config.get("alpha_pattern") or {}).items():
        if re.match(rf"(.*\.)?({key})$", name):
            alpha = float(value)
            break
    return alpha / (rank**0.5 if config.get("use_rslora") else rank)


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
