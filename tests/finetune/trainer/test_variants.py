"""Ways to train an adapter that are asked for by a setting: the step that peft and TRL make of
them, and the same bytes after any interruption."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from peft import get_peft_model
from peft.optimizers import create_loraplus_optimizer

from finetune.families.adapters.fresh import _lora_config
from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.loading import load_base
from finetune.families.contract import AdapterSpec
from finetune.packaging.parity import compare_adapters
from finetune.states import ExitCode
from finetune.trainer import optim
from finetune.trainer.data import make_plan
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.spec import OptimSpec, RunSpec
from tests.finetune.trainer.runs import (
    chat_rows,
    encoded,
    error,
    finish,
    make_run,
    result_hash,
    train_interrupted,
)
from tests.finetune.trainer.test_oracle import spec_of, train_ours

WAYS: dict[str, dict[str, Any]] = {
    "pissa": {"adapter": {"r": 4, "init_lora_weights": "pissa_niter_4"}},
    "olora": {"adapter": {"r": 4, "init_lora_weights": "olora", "use_rslora": True}},
    "gaussian": {"adapter": {"r": 4, "init_lora_weights": "gaussian", "use_dora": True}},
    "loraplus": {"optim": {"learning_rate": 2e-3, "loraplus_lr_ratio": 8.0}},
    "neftune": {"neftune_noise_alpha": 5.0, "adapter": {"r": 4}, "lanes": 2},
}


@pytest.mark.parametrize("way", WAYS)
def test_a_run_stopped_again_and_again_ends_in_the_same_bytes(
    tiny_base: Path, tmp_path: Path, way: str
) -> None:
    settings = WAYS[way] | {"save_every": 3, "keep": "best", "stability": "watched"}
    whole, parted, plain = (
        make_run(tmp_path / name, tiny_base, rows=12, **more)
        for name, more in (("whole", settings), ("parted", settings), ("plain", {}))
    )
    train(whole, Stop())
    assert train_interrupted(parted, 3, most=60) >= 3
    assert result_hash(parted) == result_hash(whole)
    train(plain, Stop())
    assert result_hash(plain) != result_hash(whole)
    # what was trained is what stock peft makes of the files on the plain base
    found = compare_adapters("causal_lm", tiny_base, whole / "result", whole / "result", "fp32")
    assert found.moved > 100 * found.max_abs_diff


def test_a_run_by_hand_is_refused_what_does_not_go_together(
    tiny_base: Path, tmp_path: Path
) -> None:
    adapter = {"r": 4, "dropout": 0.1, "init_lora_weights": "pissa"}
    run = make_run(tmp_path / "run", tiny_base, adapter=adapter)
    assert finish(run) == ExitCode.DATA
    assert (error(run)["code"], error(run)["param"]) == ("settings_clash", "adapter.dropout")


@pytest.mark.parametrize("kind", [{}, {"use_dora": True}])
def test_loraplus_moves_every_parameter_as_pefts_optimizer_does(
    tiny_base: Path, kind: dict[str, bool]
) -> None:
    spec = AdapterSpec(r=4, **kind)  # type: ignore[arg-type]
    asked = OptimSpec(learning_rate=1e-3, weight_decay=0.1, loraplus_lr_ratio=16.0)
    ours = adapted.load(tiny_base, spec, precision="fp32", device="cpu", seed=1)
    base = load_base(tiny_base, dtype=torch.float32)
    torch.manual_seed(1)
    theirs = get_peft_model(base, _lora_config(base, spec))
    named = {n: p for n, p in theirs.named_parameters() if p.requires_grad}
    mine = optim.adamw(ours.parameters, ours.parameter_names, asked)
    peft = create_loraplus_optimizer(
        theirs,
        torch.optim.AdamW,
        lr=1e-3,
        loraplus_lr_ratio=16.0,
        loraplus_weight_decay=0.1,
        fused=True,
    )
    generator = torch.Generator().manual_seed(3)
    for _ in range(3):
        for name, parameter in zip(ours.parameter_names, ours.parameters, strict=True):
            parameter.grad = torch.randn(parameter.shape, generator=generator)
            named[name].grad = parameter.grad.clone()
        mine.step()
        peft.step()
    for name, parameter in zip(ours.parameter_names, ours.parameters, strict=True):
        assert torch.equal(parameter, named[name]), name


def test_a_spec_without_a_ratio_has_the_one_group_that_it_had(tiny_base: Path) -> None:
    model = adapted.load(tiny_base, AdapterSpec(r=2), precision="fp32", device="cpu", seed=1)
    optimizer = optim.adamw(model.parameters, model.parameter_names, OptimSpec())
    (group,) = optimizer.param_groups
    assert all(a is b for a, b in zip(group["params"], model.parameters, strict=True))


@pytest.mark.parametrize(
    ("way", "precision", "within"), [("loraplus", "fp64", 1e-9), ("neftune", "fp32", 1e-5)]
)
def test_twenty_steps_have_the_losses_of_trl(
    tiny_base: Path, tmp_path: Path, way: str, precision: str, within: float
) -> None:
    """Noise is compared a row a step: TRL's is over a padded batch, and ours over each row."""
    from tests.finetune.trainer import oracle

    spec = RunSpec.model_validate(spec_of(precision).model_dump() | {"batch_size": 1, "epochs": 1})
    changed: dict[str, Any] = (
        {"optim": spec.optim.model_copy(update={"learning_rate": 2e-3, "loraplus_lr_ratio": 8.0})}
        if way == "loraplus"
        else {"neftune_noise_alpha": 5.0}
    )
    spec = spec.model_copy(update=changed)
    rows = encoded(tiny_base, chat_rows(20))
    plan = make_plan(rows, batch_size=1, epochs=1, seed=5, pack_to=None)
    with oracle.nothing_narrowed() if precision == "fp64" else nullcontext():
        ours, before, _ = train_ours(tiny_base, spec, rows, plan, tmp_path, 1)
        theirs, _, _ = oracle.train_with_trl(
            tiny_base, spec, rows, plan, before, out=tmp_path, max_steps=20
        )
    gaps = [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
