"""Preferences are trained as TRL's DPOTrainer trains them, pairs never parted, and an interruption
anywhere leaves the same bytes."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.layout import Row
from finetune.records.kinds import PAIR, Group
from finetune.trainer import loop
from finetune.trainer.data import Plan, make_plan
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives import OBJECTIVES
from finetune.trainer.objectives.dpo import DPO
from finetune.trainer.reference import refer
from finetune.trainer.run import Known
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import (
    bare_run,
    chat_rows,
    encoded,
    events,
    make_run,
    result_hash,
    train_interrupted,
    write_jsonl,
)
from tests.finetune.trainer.test_oracle import STEPS, spec_of


def pair_rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    rows = []
    for number, row in enumerate(chat_rows(count, start=start)):
        *prompt, chosen = row["messages"]
        other = {"role": "assistant", "content": "turn off" + " please" * (number % 3)}
        rows.append({"messages": prompt, "chosen": [chosen], "rejected": [other]})
    return rows


def pairs(base: Path, count: int) -> list[Group]:
    rows = pair_rows(count)
    sides = [
        encoded(base, [{"messages": [*row["messages"], *row[side]]} for row in rows])
        for side in PAIR.parts
    ]
    return [Group(both) for both in zip(*sides, strict=True)]


def train_ours(
    base: Path,
    spec: RunSpec,
    rows: list[Group],
    plan: Plan,
    folder: Path,
    start: dict[str, torch.Tensor] | None = None,
) -> tuple[list[dict[str, float]], dict[str, torch.Tensor]]:
    """Each step's figures, and the adapter before."""
    model = adapted.load(base, spec.adapter, precision=spec.precision, device="cpu", seed=1)
    if start is not None:
        model.begin_from(start)
    before = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
    run = bare_run(spec, model, OBJECTIVES[spec.objective].told(spec.settings), rows, plan, folder)
    with run.lanes:
        refer(run, folder)
        loop.run_to_the_end(run)
    run.events.close()
    return [step.train for step in run.history.steps], before


@pytest.mark.parametrize(
    ("precision", "within", "settings"),
    [
        ("fp32", 1e-5, {"beta": 0.3}),
        ("fp64", 1e-9, {"beta": 0.3}),
        ("fp64", 1e-9, {"beta": 0.5, "loss_type": "ipo"}),
    ],
)
def test_fifty_steps_have_the_losses_and_rewards_of_trl(
    shallow_base: Path, tmp_path: Path, precision: str, within: float, settings: dict[str, Any]
) -> None:
    from tests.finetune.trainer.oracle import nothing_narrowed
    from tests.finetune.trainer.oracle_pairs import align_with_trl

    spec = spec_of(precision).model_copy(update={"objective": "dpo", "settings": settings})
    rows = pairs(shallow_base, 20)
    plan = make_plan(rows, batch_size=4, epochs=10, seed=5, pack_to=None)
    assert plan.total_steps == STEPS
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        ours, before = train_ours(shallow_base, spec, rows, plan, tmp_path)
        theirs = align_with_trl(
            shallow_base, spec, rows, plan, before, out=tmp_path, max_steps=STEPS
        )
    assert len(theirs.losses) == len(ours) == STEPS
    losses = [step["train_loss"] for step in ours]
    assert losses[-1] < 0.9 * losses[0]
    gaps = [abs(a - b) / abs(b) for a, b in zip(losses, theirs.losses, strict=True)]
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
    for name in ("rewards_chosen", "rewards_rejected", "rewards_margins", "rewards_accuracies",
                 "logps_chosen", "logps_rejected"):  # fmt: skip
        told = [step[f"train_{name}"] for step in ours]
        metric = theirs.metrics[name.replace("_", "/", 1)]
        assert told == pytest.approx(metric, rel=1e-4, abs=1e-4), name


def make_pairs(folder: Path, base: Path, **spec: Any) -> Path:
    told: dict[str, Any] = {"batch_size": 3, "save_every": 1, "micro_batch_tokens": 150}
    run = make_run(folder, base, objective="dpo", **(told | spec))
    write_jsonl(run / "data" / "train.jsonl", pair_rows(9))
    write_jsonl(run / "data" / "valid.jsonl", pair_rows(4, start=100))
    return run


@pytest.fixture(scope="module")
def undisturbed(shallow_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_pairs(tmp_path_factory.mktemp("dpo") / "run", shallow_base)
    train(run, Stop())
    return run


def test_the_base_stands_at_no_margin_and_the_result_favours_what_is_preferred(
    undisturbed: Path,
) -> None:
    said = [event["data"] for event in events(undisturbed, "message")]
    (base,) = [data for data in said if "base_valid_rewards_margins" in data]
    assert base["base_valid_rewards_margins"] == pytest.approx(0, abs=1e-5)
    assert base["base_valid_loss"] == pytest.approx(0.6931, abs=1e-4)
    told = [event["data"] for event in events(undisturbed, "metrics")]
    assert told[-1]["valid_rewards_margins"] > 0.1
    assert told[-1]["valid_loss"] < 0.69
    rows = (undisturbed / "result" / "validation_rows.csv").read_text().splitlines()
    assert len(rows) == 5


def test_interrupted_anywhere_it_ends_in_the_same_bytes(
    undisturbed: Path, shallow_base: Path, tmp_path: Path
) -> None:
    """Also while the base is asked, whose answers are kept."""
    run = make_pairs(tmp_path / "run", shallow_base)
    assert train_interrupted(run, 11) > 2
    assert result_hash(run) == result_hash(undisturbed)


def test_gone_on_with_from_every_step_elsewhere_it_ends_in_the_same_bytes(
    undisturbed: Path, shallow_base: Path, tmp_path: Path
) -> None:
    """Another machine has the checkpoints and not what the base was asked."""
    run = make_pairs(tmp_path / "run", shallow_base)

    def forget() -> None:
        for kept in run.glob("reference-*.jsonl"):
            kept.unlink()

    assert train_interrupted(run, 24, most=60, before=forget) > 2
    assert result_hash(run) == result_hash(undisturbed)


def test_what_was_half_written_of_the_reference_is_done_again(
    undisturbed: Path, shallow_base: Path, tmp_path: Path
) -> None:
    run = make_pairs(tmp_path / "run", shallow_base)
    whole = (undisturbed / "reference-train.jsonl").read_bytes()
    first, rest = whole.split(b"\n", 1)
    (run / "reference-train.jsonl").write_bytes(first + b"\n" + rest[:10])
    train(run, Stop())
    assert (run / "reference-train.jsonl").read_bytes() == whole
    assert result_hash(run) == result_hash(undisturbed)


def test_a_layout_shares_the_prompt_of_both_sides(shallow_base: Path) -> None:
    spec = spec_of("fp32")
    model = adapted.load(shallow_base, spec.adapter, precision="fp32", device="cpu", seed=1)
    (pair,) = pairs(shallow_base, 1)
    rows: Any = list(pair.sequences)
    layout = model.lay_out(rows, share_prefixes=True)
    alike = next(
        i for i, (a, b) in enumerate(zip(*(r.input_ids for r in rows), strict=False)) if a != b
    )
    assert layout.nodes == layout.tokens - alike
    assert alike > 10


def test_smoothed_labels_are_a_mean_over_both_ways_round(shallow_base: Path) -> None:
    spec = spec_of("fp64")
    model = adapted.load(shallow_base, spec.adapter, precision="fp64", device="cpu", seed=1)

    def loss(row: Group, reference: tuple[float, ...], smoothing: float) -> float:
        item = Known(row, reference)
        layout = model.lay_out(list(row.sequences), share_prefixes=True)  # type: ignore[arg-type]
        told = DPO.told({"label_smoothing": smoothing})
        return float(told.sums(model, layout, [item]).loss.detach())

    (pair,) = pairs(shallow_base, 1)
    other_way = Group(pair.sequences[::-1])
    reference = (-170.0, -60.0)
    smooth = loss(pair, reference, 0.2)
    apart = 0.8 * loss(pair, reference, 0) + 0.2 * loss(other_way, reference[::-1], 0)
    assert smooth == pytest.approx(apart, rel=1e-12)
    assert smooth != pytest.approx(loss(pair, reference, 0), rel=1e-3)


def test_settings_out_of_range_are_refused() -> None:
    for wrong in ({"beta": 0}, {"label_smoothing": 0.5}, {"loss_type": "hinge"}, {"gamma": 1}):
        with pytest.raises(ValidationError):
            DPO.told(wrong)


def test_a_rows_log_likelihood_has_the_gradient_of_its_own_weight(shallow_base: Path) -> None:
    """Weighing rows apart is as summing their losses apart."""
    from tests.finetune.trainer.oracle import nothing_narrowed

    model = adapted.load(
        shallow_base, spec_of("fp64").adapter, precision="fp64", device="cpu", seed=1
    )
    rows: list[Row] = encoded(shallow_base, chat_rows(2))
    weights = torch.tensor([0.25, -1.5], dtype=torch.float64)
    with nothing_narrowed():
        layout = model.lay_out(rows, share_prefixes=True)
        found = model.log_likelihoods(layout, [row.trained for row in rows])
        ours = torch.autograd.grad((weights * found).sum(), model.parameters, allow_unused=True)
        losses = [model.cross_entropy(model.lay_out([r], share_prefixes=True))[0] for r in rows]
        apart = -(weights * torch.stack(losses)).sum()
        theirs = torch.autograd.grad(apart, model.parameters, allow_unused=True)
    assert any(each is not None and each.abs().max() > 1e-6 for each in ours)
    for one, other in zip(ours, theirs, strict=True):
        if one is not None and other is not None:
            torch.testing.assert_close(one, other, rtol=1e-9, atol=1e-12)
