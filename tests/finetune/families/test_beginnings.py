"""Adapters that begin in the base compute what peft's do, and fit the base as it was."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import PeftModel, get_peft_model
from peft.tuners.lora import LoraLayer
from safetensors.torch import save_file
from torch import Tensor

from faults import UserFault
from finetune.families.adapters.fresh import _lora_config
from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.adapted import CausalLM
from finetune.families.causal_lm.layout import Row
from finetune.families.causal_lm.loading import load_base
from finetune.families.causal_lm.probing import head_logits
from finetune.families.contract import AdapterSpec

BEGINNINGS = ["pissa", "pissa_niter_20", "olora"]
KINDS: dict[str, dict[str, Any]] = {
    "lora": {"r": 3, "alpha": 6},
    "rslora": {"r": 3, "alpha": 5, "use_rslora": True},
    "dora": {"r": 3, "alpha": 6, "use_dora": True},
}
IDS = torch.tensor([[5, 17, 80, 3, 9, 44, 31]])


def spec_of(kind: str, beginning: str) -> AdapterSpec:
    return AdapterSpec.model_validate(KINDS[kind] | {"init_lora_weights": beginning})


def ours_of(base: Path, spec: AdapterSpec) -> CausalLM:
    return adapted.load(base, spec, precision="fp32", device="cpu", seed=1)


def peft_of(base: Path, spec: AdapterSpec) -> Any:
    """peft's own way: a base whose weights it changes. Where it draws by lot, as we do: when all
    layers are there."""
    model = load_base(base, dtype=torch.float32)
    config = copy.copy(_lora_config(model, spec))
    drawn = "niter" in spec.init_lora_weights
    config.init_lora_weights = True if drawn else spec.init_lora_weights  # type: ignore[assignment]
    torch.manual_seed(1)
    model = get_peft_model(model, config)
    for layer in [m for m in model.modules() if drawn and isinstance(m, LoraLayer)]:
        layer.pissa_init("default", spec.init_lora_weights)
    return model


@torch.no_grad()
def stock_logits(model: Any) -> Tensor:
    found: Tensor = model(IDS).logits[0]
    return found


@torch.no_grad()
def our_logits(model: CausalLM) -> Tensor:
    hidden = model.hidden(model.lay_out([row()], share_prefixes=False))
    return model.head_math.logits(head_logits(hidden, model.head))


def row() -> Row:
    return Row(IDS[0].tolist(), [False] * 3 + [True] * 4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beginning", BEGINNINGS)
def test_loss_and_gradients_are_pefts(tiny_base: Path, kind: str, beginning: str) -> None:
    spec = spec_of(kind, beginning)
    ours, theirs = ours_of(tiny_base, spec), peft_of(tiny_base, spec)
    ours.train(True)
    named = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    assert list(named) == ours.parameter_names
    generator = torch.Generator().manual_seed(3)
    for name, parameter in zip(ours.parameter_names, ours.parameters, strict=True):
        torch.testing.assert_close(parameter.data, named[name].data, rtol=0, atol=1e-5)
        moved = parameter.data + 0.02 * torch.randn(parameter.shape, generator=generator)
        parameter.data.copy_(moved)
        named[name].data.copy_(moved)
    loss, _ = ours.cross_entropy(ours.lay_out([row()], share_prefixes=True))
    loss.backward()
    logits = theirs(IDS).logits[0, 2:-1]
    (torch.nn.functional.cross_entropy(logits, IDS[0, 3:], reduction="sum")).backward()
    for name, parameter in zip(ours.parameter_names, ours.parameters, strict=True):
        assert parameter.grad is not None
        gap = (parameter.grad - named[name].grad).norm() / named[name].grad.norm()
        assert gap < 1e-4, (name, float(gap))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("beginning", [*BEGINNINGS, "gaussian"])
def test_the_files_give_the_same_on_the_base_that_nobody_changed(
    tiny_base: Path, tmp_path: Path, kind: str, beginning: str
) -> None:
    spec = spec_of(kind, beginning)
    ours = ours_of(tiny_base, spec)
    before = our_logits(ours)
    stock = stock_logits(load_base(tiny_base, dtype=torch.float32))
    torch.testing.assert_close(before, stock, rtol=0, atol=2e-5)  # nothing is learnt yet
    for parameter in ours.parameters:
        parameter.data += 0.05 * torch.randn(
            parameter.shape, generator=torch.Generator().manual_seed(parameter.numel())
        )
    config = ours.adapter_config("tiny")
    assert "init_lora_weights" not in config
    assert config["r"] == spec.written_rank == (3 if beginning == "gaussian" else 6)
    save_file(ours.adapter_state(), tmp_path / "adapter_model.safetensors")
    (tmp_path / "adapter_config.json").write_text(json.dumps(config))
    told = our_logits(ours)
    loaded = PeftModel.from_pretrained(load_base(tiny_base, dtype=torch.float32), tmp_path)
    assert float((told - stock).abs().max()) > 0.01
    torch.testing.assert_close(stock_logits(loaded.eval()), told, rtol=0, atol=1e-4)
    with ours.without_adapter():
        torch.testing.assert_close(our_logits(ours), stock, rtol=0, atol=2e-5)


def test_a_state_is_taken_with_what_stood_still_when_it_was_written(tiny_base: Path) -> None:
    """Another machine may make other last bits, or other signs, of the same directions."""
    ours = ours_of(tiny_base, spec_of("lora", "pissa"))
    state = {name: -tensor for name, tensor in ours.adapter_state().items()}
    ours.load_adapter_state(state)
    again = ours.adapter_state()
    assert all(torch.equal(again[name], tensor) for name, tensor in state.items())
    torch.testing.assert_close(  # still A and B less what they began as
        our_logits(ours),
        stock_logits(load_base(tiny_base, dtype=torch.float32)),
        rtol=0,
        atol=2e-5,
    )


def test_more_directions_than_a_layer_has_are_refused(tiny_base: Path) -> None:
    spec = AdapterSpec(r=512, init_lora_weights="olora")
    with pytest.raises(UserFault) as raised:
        ours_of(tiny_base, spec)
    assert (raised.value.code, raised.value.param) == ("bad_adapter", "adapter.r")


def test_bf16_loses_nothing_of_the_base(tiny_base: Path) -> None:
    """Where peft rounds the changed weights to bf16, the base's stand as they are."""
    plain = load_base(tiny_base, dtype=torch.bfloat16)
    ours = adapted.load(tiny_base, spec_of("lora", "pissa"), precision="bf16", device="cpu", seed=1)
    for name, module in plain.named_modules():
        if isinstance(module, torch.nn.Linear):
            assert torch.equal(ours.inner.get_submodule(name).weight, module.weight)
