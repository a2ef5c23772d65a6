"""A fresh adapter: peft puts it on the base, seeded, and it is taken off again with its names.

The base is left as it was, so any number of adapters can be made for one that stays in memory.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from peft import LoraConfig, get_peft_model, get_peft_model_state_dict
from peft.tuners.lora import LoraLayer as PeftLayer
from torch import Tensor, nn

from faults import OurFault, UserFault
from finetune.families.adapters.arithmetic import LoraLayer
from finetune.families.adapters.assignment import Adapter
from finetune.families.adapters.beginnings import (
    Still,
    begin_in_base,
    stills,
    written_config,
)
from finetune.families.adapters.targets import peft_targets
from finetune.families.contract import AdapterSpec
from finetune.families.layers import unmatched

_NAME = "default"  # peft's own; it stands in the parameters' names
# Written whatever they are: readers need them, and no other version's default may step in
_ALWAYS = {"peft_type", "task_type", "r", "lora_alpha", "lora_dropout", "target_modules", "bias"}


@dataclass(frozen=True, eq=False)
class TrainableAdapter:
    """An adapter that is trained, with peft's names of its parameters and its files."""

    adapter: Adapter
    config: LoraConfig
    named: dict[str, nn.Parameter]  # as optimizers and checkpoints know them, in peft's order
    saved: dict[str, nn.Parameter]  # as adapter_model.safetensors knows them, sorted
    still: dict[str, Still] = field(default_factory=dict)  # what is written behind some of them

    def state(self) -> dict[str, Tensor]:
        """peft's names -> contiguous CPU tensors."""
        return {name: self._whole(name).cpu().contiguous() for name in self.saved}

    def _whole(self, name: str) -> Tensor:
        trained, still = self.saved[name].detach(), self.still.get(name)
        return trained if still is None else torch.cat((trained, still.tensor), dim=still.axis)

    @torch.no_grad()
    def load_state(self, state: dict[str, Tensor]) -> None:
        """Raises OurFault `other_adapter` unless names and shapes are these. What stands still
        comes from there, too: another machine might make other last bits of it."""
        if _shapes(state) != _shapes({name: self._whole(name) for name in self.saved}):
            raise OurFault("other_adapter", "The weights are of another adapter.")
        for name, parameter in self.saved.items():
            if (still := self.still.get(name)) is None:
                parameter.copy_(state[name])
                continue
            trained, kept = state[name].chunk(2, dim=still.axis)
            parameter.copy_(trained)
            still.tensor.copy_(kept)

    def described(self, base_name: str) -> dict[str, Any]:
        """What peft writes as adapter_config.json, naming the base instead of a local folder.

        Settings at their default are left out: a peft that does not know one refuses the file.
        """
        usual = LoraConfig().to_dict()
        ours = written_config(self.config.to_dict(), doubled=bool(self.still))
        # for a mixture of experts peft writes empty lists of what else it could adapt
        told = {k: v for k, v in ours.items() if k in _ALWAYS or v not in (usual[k], [], set())}
        return {
            **{k: sorted(v) if isinstance(v, set) else v for k, v in told.items()},
            "base_model_name_or_path": base_name,
            "inference_mode": True,
        }


def _shapes(state: Mapping[str, Tensor]) -> dict[str, torch.Size]:
    return {name: tensor.shape for name, tensor in state.items()}


def fresh_adapter(model: Any, spec: AdapterSpec, *, seed: int) -> TrainableAdapter:
    """For a loaded base. Raises UserFault where the adapter does not fit it."""
    torch.manual_seed(seed)
    try:
        config = _lora_config(model, spec)
    except ValueError as error:
        raise _unfit(str(error)) from error
    try:
        return _taken(_put_on(model, config), config, spec)
    finally:
        _take_off(model)


def _put_on(model: Any, config: LoraConfig) -> Any:
    try:
        return get_peft_model(model, config, adapter_name=_NAME)
    except ValueError as error:
        raise _unfit(str(error)) from error


def _take_off(model: Any) -> None:
    """As peft's `unload` does. Where peft refuses there is none to call, and layers that it had
    adapted by then."""
    if hasattr(model, "peft_config"):
        del model.peft_config
    for name, layer in list(model.named_modules()):
        if isinstance(layer, PeftLayer):
            parent, _, own = name.rpartition(".")
            setattr(model.get_submodule(parent), own, layer.get_base_layer())


def _taken(peft_model: Any, config: LoraConfig, spec: AdapterSpec) -> TrainableAdapter:
    base: Any = peft_model.get_base_model()
    layers = {n: m for n, m in base.named_modules() if isinstance(m, PeftLayer)}
    # The loss takes the head as frozen; peft's all-linear leaves it out, a name may not.
    if isinstance(base.get_output_embeddings(), PeftLayer):
        raise UserFault(
            "head_is_target",
            "The output head cannot carry an adapter.",
            param="adapter.targets",
            fix='Leave the head out of the targets, or use "all-linear".',
        )
    asked = [] if isinstance(spec.targets, str) else spec.targets
    if passed_over := unmatched(asked, layers):
        raise _unfit(f"there is no layer {passed_over[0]!r} in it.")
    for name, layer in layers.items():
        if not isinstance(layer.get_base_layer(), nn.Linear):
            raise _unfit(f"{name} is no linear layer.")
    named = {n: p for n, p in peft_model.named_parameters() if p.requires_grad}
    place = {p.data_ptr(): p for p in named.values()}
    # peft's "auto" saves whole embeddings where it thinks that they were changed: the base's own
    saved = get_peft_model_state_dict(peft_model, adapter_name=_NAME, save_embedding_layers=False)
    adapter = Adapter({name: _layer(layer) for name, layer in layers.items()})
    kept = {name: place[tensor.data_ptr()] for name, tensor in sorted(saved.items())}
    if not spec.begins_in_the_base:
        return TrainableAdapter(adapter, config, named, kept)
    linear: dict[str, Any] = {name: layer.get_base_layer() for name, layer in layers.items()}
    try:
        begun = Adapter(begin_in_base(adapter.layers, linear, spec.init_lora_weights))
    except ValueError as error:
        raise _unfit(str(error), param="adapter.r") from error
    return TrainableAdapter(begun, config, named, kept, stills(begun.layers, kept))


def _layer(layer: Any) -> LoraLayer:
    magnitude = layer.lora_magnitude_vector
    return LoraLayer(
        down=layer.lora_A[_NAME].weight,
        up=layer.lora_B[_NAME].weight,
        scale=float(layer.scaling[_NAME]),
        dropout=getattr(layer.lora_dropout[_NAME], "p", 0.0),
        magnitude=magnitude[_NAME].weight if _NAME in magnitude else None,
    )


def _lora_config(model: Any, spec: AdapterSpec) -> LoraConfig:
    return LoraConfig(
        r=spec.r,
        lora_alpha=int(spec.alpha) if spec.alpha == int(spec.alpha) else spec.alpha,  # type: ignore[arg-type]
        lora_dropout=spec.dropout,
        target_modules=peft_targets(model, spec),
        use_dora=spec.use_dora,
        use_rslora=spec.use_rslora,
        # what begins in the base is set here afterwards: peft would change the base for it
        init_lora_weights="gaussian" if spec.init_lora_weights == "gaussian" else True,
        bias="none",
        task_type="CAUSAL_LM" if model.can_generate() else "FEATURE_EXTRACTION",
    )


def _unfit(reason: str, param: str = "adapter.targets") -> UserFault:
    return UserFault(
        "bad_adapter",
        f"The adapter does not fit the base: {reason}",
        param=param,
        fix='Name linear layers of the base, such as "q_proj", or use "all-linear".',
    )
