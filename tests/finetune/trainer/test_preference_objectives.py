"""What is trained on preferences has the losses and figures of TRL's trainers, step by step, and an
interruption anywhere leaves the same bytes."""

from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetune.trainer.data import make_plan
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives import OBJECTIVES
from finetune.trainer.objectives.preferences import METRICS
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import (
    events,
    make_run,
    result_hash,
    train_interrupted,
    write_jsonl,
)
from tests.finetune.trainer.test_dpo import pair_rows, pairs, train_ours
from tests.finetune.trainer.test_oracle import STEPS, spec_of

CASES = [
    ("fp32", 1e-5, "orpo", {"beta": 0.5}),
    ("fp64", 1e-9, "orpo", {"beta": 0.5}),
    ("fp32", 1e-5, "simpo", {"beta": 2.0, "gamma": 0.5}),
    ("fp64", 1e-9, "simpo", {"beta": 2.0, "gamma": 0.5}),
]


@pytest.mark.parametrize(("precision", "within", "objective", "settings"), CASES)
def test_fifty_steps_have_the_losses_and_figures_of_trl(
    shallow_base: Path,
    tmp_path: Path,
    precision: str,
    within: float,
    objective: str,
    settings: dict[str, Any],
) -> None:
    from tests.finetune.trainer.oracle import nothing_narrowed
    from tests.finetune.trainer.oracle_pairs import align_with_trl

    told = {"settings": settings, "objective": objective}
    spec = spec_of(precision).model_copy(update=told)
    rows = pairs(shallow_base, 20)
    plan = make_plan(rows, batch_size=4, epochs=10, seed=5, pack_to=None)
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        ours, before = train_ours(shallow_base, spec, rows, plan, tmp_path)
        theirs = align_with_trl(
            shallow_base, spec, rows, plan, before, out=tmp_path, max_steps=STEPS
        )
    assert len(theirs.losses) == len(ours) == STEPS
    losses = [step["train_loss"] for step in ours]
    assert losses[-1] < 0.9 * losses[0]
    gaps = [abs(a - b) / abs(b) for a, b in zip(losses, theirs.losses, strict=True)]
    print(f"{objective} {precision}: largest relative difference {max(gaps):.1e}")
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
    for metric in OBJECTIVES[objective].metrics:
        figures = [step[metric.train_column] for step in ours]
        name = metric.name if metric not in METRICS else metric.name.replace("_", "/", 1)
        assert figures == pytest.approx(theirs.metrics[name], rel=1e-4, abs=1e-4), name


def make_pairs(folder: Path, base: Path, objective: str, **spec: Any) -> Path:
    told: dict[str, Any] = {"batch_size": 3, "save_every": 1, "micro_batch_tokens": 150}
    run = make_run(folder, base, objective=objective, **(told | spec))
    write_jsonl(run / "data" / "train.jsonl", pair_rows(9))
    write_jsonl(run / "data" / "valid.jsonl", pair_rows(4, start=100))
    return run


@pytest.fixture(scope="module", params=["orpo", "simpo"])
def undisturbed(
    request: pytest.FixtureRequest, shallow_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    run = make_pairs(tmp_path_factory.mktemp(request.param) / "run", shallow_base, request.param)
    train(run, Stop())
    return run


def test_the_result_favours_what_is_preferred(undisturbed: Path) -> None:
    told = [event["data"] for event in events(undisturbed, "metrics")]
    said = [event["data"] for event in events(undisturbed, "message")]
    (base,) = [data for data in said if "base_valid_rewards_margins" in data]
    assert told[-1]["valid_rewards_margins"] > base["base_valid_rewards_margins"]
    assert told[-1]["valid_loss"] < base["base_valid_loss"]
    rows = (undisturbed / "result" / "validation_rows.csv").read_text().splitlines()
    assert len(rows) == 5
    losses = [float(row.split(",")[3]) for row in rows[1:]]
    assert sum(losses) / 4 == pytest.approx(told[-1]["valid_loss"], rel=1e-6)
    assert not list(undisturbed.glob("reference-*"))


def test_interrupted_anywhere_it_ends_in_the_same_bytes(
    undisturbed: Path, shallow_base: Path, tmp_path: Path
) -> None:
    objective = RunSpec.read(undisturbed).objective
    run = make_pairs(tmp_path / "run", shallow_base, objective)
    assert train_interrupted(run, 11) > 2
    assert result_hash(run) == result_hash(undisturbed)


@pytest.mark.parametrize(
    ("objective", "wrong"),
    [
        ("orpo", {"beta": 0}),
        ("orpo", {"gamma": 1}),
        ("simpo", {"beta": 101}),
        ("simpo", {"gamma": -0.1}),
        ("simpo", {"loss_type": "ipo"}),
    ],
)
def test_settings_out_of_range_are_refused(objective: str, wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OBJECTIVES[objective].told(wrong)
