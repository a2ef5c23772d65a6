"""The same losses, step by step, as TRL's SFTTrainer."""

from contextlib import nullcontext
from pathlib import Path

import pytest
import torch
from peft import get_peft_model_state_dict

from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.layout import Row
from finetune.families.contract import AdapterSpec
from finetune.trainer import loop
from finetune.trainer.data import Plan, make_plan
from finetune.trainer.objectives.contract import Objective
from finetune.trainer.objectives.pretrain import PRETRAIN
from finetune.trainer.objectives.sft import SFT
from finetune.trainer.spec import OptimSpec, RunSpec
from tests.finetune.trainer.runs import bare_run, chat_rows, chunks, encoded

STEPS = 50


def spec_of(precision: str) -> RunSpec:
    return RunSpec.model_validate(
        {
            "precision": precision,
            "epochs": 10,
            "batch_size": 4,
            "micro_batch_tokens": 150,  # several micro-batches a step: accumulation is compared too
            "adapter": AdapterSpec(r=4).model_dump(),
            "optim": OptimSpec(
                learning_rate=5e-3, warmup_ratio=0.1, weight_decay=0.01, max_grad_norm=0.5
            ).model_dump(),
        }
    )


def train_ours(
    base: Path,
    spec: RunSpec,
    rows: list[Row],
    plan: Plan,
    folder: Path,
    lanes: int,
    objective: Objective = SFT,
) -> tuple[list[float], dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Losses of each step, the adapter before, the adapter after."""
    model = adapted.load(
        base,
        spec.adapter,
        precision=spec.precision,
        device="cpu",
        seed=1,
        noise_alpha=spec.neftune_noise_alpha,
    )
    before = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    run = bare_run(spec, model, objective, rows, plan, folder, lanes=lanes)
    with run.lanes:
        loop.run_to_the_end(run)
    run.events.close()
    return [m.train_loss for m in run.history.steps], before, model.adapter_state()


@pytest.mark.parametrize(
    ("precision", "within", "lanes"), [("fp32", 1e-5, 1), ("fp32", 1e-5, 2), ("fp64", 1e-9, 2)]
)
def test_fifty_steps_have_the_losses_of_trl(
    tiny_base: Path, tmp_path: Path, precision: str, within: float, lanes: int
) -> None:
    from tests.finetune.trainer.oracle import nothing_narrowed, train_with_trl

    spec = spec_of(precision)
    rows = encoded(tiny_base, chat_rows(20))
    plan = make_plan(rows, batch_size=4, epochs=10, seed=5, pack_to=None)
    assert plan.total_steps == STEPS
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        ours, before, after = train_ours(tiny_base, spec, rows, plan, tmp_path, lanes)
        theirs, model, _ = train_with_trl(
            tiny_base, spec, rows, plan, before, out=tmp_path, max_steps=STEPS
        )
    assert len(theirs) == len(ours) == STEPS
    assert ours[-1] < 0.9 * ours[0]  # it learns, so later steps compare more than the start
    gaps = [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
    for name, tensor in get_peft_model_state_dict(model).items():
        torch.testing.assert_close(after[name], tensor.cpu(), rtol=0, atol=1e3 * within)


@pytest.mark.parametrize(("precision", "within"), [("fp32", 1e-5), ("fp64", 1e-9)])
def test_documents_in_chunks_have_the_losses_of_trl(
    tiny_base: Path, tmp_path: Path, precision: str, within: float
) -> None:
    """Continued pre-training: TRL is given the same chunks, all but their first token to train."""
    from tests.finetune.trainer.oracle import nothing_narrowed, train_with_trl

    spec = spec_of(precision)
    text = " ".join(f"Room {n} has {n * n} lamps, and each is {'on' if n % 3 else 'off'}."
                    for n in range(40))  # fmt: skip
    rows = encoded(tiny_base, chunks(tiny_base, text, 48))[-20:]  # the last, with the end, too
    plan = make_plan(rows, batch_size=4, epochs=10, seed=5, pack_to=None)
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        ours, before, _ = train_ours(tiny_base, spec, rows, plan, tmp_path, 1, PRETRAIN)
        theirs, _, _ = train_with_trl(
            tiny_base, spec, rows, plan, before, out=tmp_path, max_steps=STEPS
        )
    assert len(ours) == len(rows) * 10 / 4 == STEPS
    gaps = [abs(a - b) / b for a, b in zip(ours, theirs, strict=True)]
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
