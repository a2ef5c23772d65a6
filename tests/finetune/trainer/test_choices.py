"""What is chosen before a run: precision, hyperparameters left to us, order, packs, rates."""

import subprocess
import sys
from itertools import chain
from pathlib import Path

import pytest
import torch
from transformers import get_scheduler

from faults import OurFault
from finetune.families import placement
from finetune.families.causal_lm.layout import Row
from finetune.records.packs import pack
from finetune.serving.bases import choose_precision
from finetune.states import ExitCode
from finetune.trainer.auto import Packs, Requested, resolve
from finetune.trainer.data import Plan, micro_batches
from finetune.trainer.optim import learning_rate, warmup_steps
from finetune.trainer.spec import OptimSpec
from tests.finetune.trainer.runs import error, finish, make_run


def test_every_row_once_an_epoch_in_an_order_of_seed_and_epoch_alone() -> None:
    plan = Plan(tuple((i,) for i in range(10)), batch_size=4, epochs=2, seed=1)
    assert (plan.steps_per_epoch, plan.total_steps) == (3, 6)
    first = [plan.rows_of(step) for step in (0, 1, 2)]
    second = [plan.rows_of(step) for step in (3, 4, 5)]
    assert [len(rows) for rows in first] == [4, 4, 2]
    assert sorted(chain(*first)) == sorted(chain(*second)) == list(range(10))
    assert first != second
    assert plan.rows_of(0) == [7, 3, 0, 1]  # a promise to checkpoints of older versions
    other = Plan(plan.items, batch_size=4, epochs=2, seed=2)
    assert other.rows_of(0) != plan.rows_of(0)


def test_packs_hold_every_row_whole_and_once() -> None:
    lengths = [5, 9, 3, 3, 7, 1, 10, 2]
    packs = pack(lengths, 10)
    assert sorted(row for rows in packs for row in rows) == list(range(8))
    assert all(sum(lengths[row] for row in rows) <= 10 for rows in packs)
    assert len(packs) == 4  # 40 tokens into tens


def test_micro_batches_keep_to_the_tokens_and_lose_nothing() -> None:
    rows = [Row(range(n), [True] * n) for n in (9, 2, 30, 4)]
    parts = list(micro_batches(rows, 12))
    assert [[len(row) for row in part] for part in parts] == [[2, 4], [9], [30]]


@pytest.mark.parametrize("name", ["cosine", "linear"])
def test_learning_rates_are_those_of_transformers(name: str) -> None:
    spec = OptimSpec.model_validate({"learning_rate": 0.3, "warmup_ratio": 0.1, "schedule": name})
    ours = [learning_rate(step, 30, spec) for step in range(30)]
    assert ours == pytest.approx(theirs(name, 30, 3, 0.3))


def theirs(name: str, steps: int, warmup: int, rate: float) -> list[float]:
    """The rates that transformers gives, step by step."""
    optimizer = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=rate)
    schedule = get_scheduler(
        f"{name}_with_warmup" if name == "constant" else name,
        optimizer,
        num_warmup_steps=warmup,
        num_training_steps=steps,
    )
    rates = []
    for _ in range(steps):
        rates.append(schedule.get_last_lr()[0])
        optimizer.step()
        schedule.step()
    return rates


@pytest.mark.parametrize("name", ["cosine", "linear", "constant"])
@pytest.mark.parametrize(
    ("steps", "ratio", "warmup"),
    [
        (1, 0.03, 0),
        (2, 0.03, 0),
        (3, 0.03, 0),
        (9, 0.03, 0),  # transformers would take 1, at rate 0
        (10, 0.03, 1),  # from here on, transformers' own number
        (33, 0.03, 1),
        (34, 0.03, 2),
        (3, 0.5, 2),  # asked for in whole steps
        (1, 1, 0),  # transformers would take all of them
        (2, 1, 1),
        (12, 1, 11),
        (12, 0.95, 11),
        (12, 0, 0),
    ],
)
def test_short_runs_have_transformers_rates_over_a_warm_up_that_leaves_steps_to_learn_in(
    name: str, steps: int, ratio: float, warmup: int
) -> None:
    spec = OptimSpec.model_validate({"learning_rate": 0.3, "warmup_ratio": ratio, "schedule": name})
    assert warmup_steps(steps, spec) == warmup
    rates = [learning_rate(step, steps, spec) for step in range(steps)]
    assert rates == pytest.approx(theirs(name, steps, warmup, 0.3))
    assert max(rates) == pytest.approx(0.3)  # at least one step learns


def test_what_was_left_to_us_is_resolved_with_a_reason() -> None:
    values, choices = resolve(
        rows=800, tokens=16_000, base_parameters=134_515_008, requested=Requested()
    )
    assert (values.n_epochs, values.batch_size) == (3, 8)
    assert values.learning_rate == pytest.approx(9.7e-4, rel=0.01)
    assert {choice.setting for choice in choices} == {
        "n_epochs",
        "batch_size",
        "learning_rate_multiplier",
    }
    asked = Requested(n_epochs=5, batch_size=2, learning_rate_multiplier=0.5)
    values, choices = resolve(rows=9, tokens=90, base_parameters=7_000_000_000, requested=asked)
    assert (values.n_epochs, values.batch_size) == (5, 2)
    assert values.learning_rate == pytest.approx(1e-4)
    assert choices == []


@pytest.mark.parametrize(("rows", "epochs", "batch"), [(10, 10, 4), (3000, 2, 16), (50_000, 1, 64)])
def test_many_rows_mean_few_epochs_and_large_batches(rows: int, epochs: int, batch: int) -> None:
    values, _ = resolve(rows=rows, tokens=1, base_parameters=10**9, requested=Requested())
    assert (values.n_epochs, values.batch_size) == (epochs, batch)


def test_without_native_bf16_the_precision_is_fp32_and_untried(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(placement, "_cpu_flags", lambda: {"avx2"})
    chosen = placement.choose("causal_lm", tiny_base)
    assert (chosen.code, chosen.precision) == ("precision_without_bf16", "fp32")
    assert chosen.text == "Precision: fp32. This processor has no bf16 arithmetic."


# NVIDIA's own table of compute capabilities
@pytest.mark.parametrize(
    ("gpu", "capability", "precision"),
    [
        ("Tesla P100-PCIE-16GB", (6, 0), "fp32"),
        ("Tesla V100-SXM2-32GB", (7, 0), "fp32"),
        ("Xavier", (7, 2), "fp32"),
        ("Tesla T4", (7, 5), "fp32"),
        ("NVIDIA GeForce RTX 2080 Ti", (7, 5), "fp32"),
        ("NVIDIA A100-SXM4-80GB", (8, 0), "bf16"),
        ("NVIDIA A10", (8, 6), "bf16"),
        ("NVIDIA GeForce RTX 3090", (8, 6), "bf16"),
        ("Orin", (8, 7), "bf16"),
        ("NVIDIA L4", (8, 9), "bf16"),
        ("NVIDIA H100 80GB HBM3", (9, 0), "bf16"),
        ("NVIDIA B200", (10, 0), "bf16"),
        ("NVIDIA GeForce RTX 5090", (12, 0), "bf16"),
    ],
)
def test_a_gpu_trains_and_serves_in_bf16_from_compute_capability_8_on(
    monkeypatch: pytest.MonkeyPatch,
    tiny_base: Path,
    gpu: str,
    capability: tuple[int, int],
    precision: str,
) -> None:
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda: capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda: gpu)
    chosen = placement.choose("causal_lm", tiny_base, on=placement.device())
    assert chosen.precision == choose_precision("auto", "cuda") == precision
    placement.require("cuda", "fp32")
    if precision == "bf16":
        assert chosen.code == "precision_of_gpu"
        placement.require("cuda", "bf16")
        return
    assert f"{gpu}, compute capability {capability[0]}.{capability[1]}" in chosen.text
    with pytest.raises(OurFault, match=gpu) as told:
        placement.require("cuda", "bf16")
    assert told.value.code == "no_bf16"


def test_a_run_of_a_gpu_is_refused_where_there_is_none(tiny_base: Path, tmp_path: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is one")
    run = make_run(tmp_path / "run", tiny_base, device="cuda", precision="bf16")
    assert finish(run) == ExitCode.OURS
    assert error(run)["code"] == "no_gpu"


@pytest.mark.parametrize(("half", "expected"), [(0.5, "bf16"), (0.95, "fp32")])
def test_with_native_bf16_the_faster_one_wins(
    tiny_base: Path, monkeypatch: pytest.MonkeyPatch, half: float, expected: str
) -> None:
    monkeypatch.setattr(placement, "_cpu_flags", lambda: {"avx512_bf16"})
    times = {"fp32": 1.0, "bf16": half}
    monkeypatch.setattr(placement, "_seconds", lambda _family, _base, name: times[name])
    chosen = placement.choose("causal_lm", tiny_base)
    assert chosen.precision == expected
    assert f"{1 / half:.1f} times" in chosen.reason


def test_the_probe_really_trains_a_step(tiny_base: Path) -> None:
    state = torch.random.get_rng_state()
    assert placement._seconds("causal_lm", tiny_base, "bf16") > 0
    assert torch.equal(torch.random.get_rng_state(), state)


def test_spec_and_auto_import_neither_torch_nor_django() -> None:
    """The platform reads specs in its web process, which must stay small."""
    code = (
        "import sys; import finetune.trainer.spec, finetune.trainer.auto; "
        "sys.exit('torch' in sys.modules or 'django' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


def test_packing_leaves_about_as_many_tokens_in_a_step() -> None:
    """1000 rows in 56 packs: 125 steps were told, and 7 done, 8 packs each."""
    settings = {"rows": 1000, "tokens": 1, "base_parameters": 10**9, "requested": Requested()}
    values, (chosen, *_) = resolve(**settings, packs=Packs(56, 112_000))
    assert values.batch_size == 1
    assert chosen.params == {
        "batch_size": 1, "rows": 1000, "packs": 56, "steps": 56, "tokens_per_step": 2000,
    }  # fmt: skip
    values, (chosen, *_) = resolve(**settings, packs=Packs(1000, 1000))
    assert (values.batch_size, chosen.params["steps"]) == (8, 125)
    assert values == resolve(**settings)[0], "packs of one row each are rows"


def test_what_is_not_counted_is_told_as_about() -> None:
    _, (chosen, *_) = resolve(
        rows=9, tokens=1, base_parameters=10**9, requested=Requested(),
        packs=Packs(3, 90, counted=False),
    )  # fmt: skip
    assert "about" in chosen.reason
