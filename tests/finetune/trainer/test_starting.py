"""A run that goes on from another's adapter: the same bytes at the start, the adapter that it was
given as what it is held against, and the same end however often it is interrupted."""

import hashlib
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file

from faults import OurFault
from finetune.families.causal_lm import adapted
from finetune.trainer.data import make_plan
from finetune.trainer.events import EventLog
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import prepare, train
from finetune.trainer.objectives import OBJECTIVES
from finetune.trainer.spec import ADAPTER, OPTIMIZER, START, OptimSpec, RunSpec
from tests.finetune.trainer.runs import (
    chat_rows,
    events,
    make_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)
from tests.finetune.trainer.test_dpo import pair_rows, pairs, train_ours
from tests.finetune.trainer.test_oracle import STEPS, spec_of


def goes_on(
    folder: Path, base: Path, source: Path, *, optimizer: bool = False, **spec: Any
) -> Path:
    """A run that starts from the files in `source`."""
    names = {"adapter_sha256": ADAPTER} | ({"optimizer_sha256": OPTIMIZER} if optimizer else {})
    bodies = {name: (source / name).read_bytes() for name in names.values()}
    start = {key: hashlib.sha256(bodies[name]).hexdigest() for key, name in names.items()}
    run = make_run(folder, base, start=start, **spec)
    (run / START).mkdir()
    for name, body in bodies.items():
        (run / START / name).write_bytes(body)
    return run


def preferring(folder: Path, base: Path, source: Path, **spec: Any) -> Path:
    """Preferences, trained on from a model of the first stage."""
    told: dict[str, Any] = {"batch_size": 3, "save_every": 1, "micro_batch_tokens": 150, "seed": 3}
    run = goes_on(folder, base, source, objective="dpo", **(told | spec))
    write_jsonl(run / "data" / "train.jsonl", pair_rows(9))
    write_jsonl(run / "data" / "valid.jsonl", pair_rows(4, start=100))
    return run


@pytest.fixture(scope="module")
def first(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_run(tmp_path_factory.mktemp("first") / "run", tiny_base)
    train(run, Stop())
    return run


@pytest.fixture(scope="module")
def second(tiny_base: Path, first: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = preferring(tmp_path_factory.mktemp("second") / "run", tiny_base, first / "result")
    train(run, Stop())
    return run


def test_it_starts_with_the_very_bytes_of_the_adapter(
    tiny_base: Path, first: Path, tmp_path: Path
) -> None:
    run = goes_on(tmp_path / "run", tiny_base, first / "result", seed=9)
    spec, log = RunSpec.read(run), EventLog(run / "events.jsonl")
    begun = prepare(spec, OBJECTIVES["sft"], run, log, Stop())
    log.close()
    before = load_file(first / "result" / ADAPTER)
    now = begun.model.adapter_state()
    assert now.keys() == before.keys()
    assert all(torch.equal(now[name], before[name]) for name in before)
    assert any(bool(now[name].any()) for name in now if "lora_B" in name)


def test_its_loss_before_training_is_that_of_the_model_it_goes_on_from(
    tiny_base: Path, first: Path, tmp_path: Path
) -> None:
    run = goes_on(tmp_path / "run", tiny_base, first / "result", epochs=1)
    train(run, Stop())
    told = report(run)
    assert told["start_valid_loss"] == pytest.approx(report(first)["valid_loss"], rel=1e-6)
    assert "base_valid_loss" not in told
    assert told["validation_change"]["difference"] == pytest.approx(
        told["valid_loss"] - told["start_valid_loss"], abs=1e-6
    )
    (said,) = [event for event in events(run) if event.get("code") == "start_evaluated"]
    assert said["data"]["start_valid_loss"] == told["start_valid_loss"]


def test_preferences_are_held_against_the_adapter_that_it_goes_on_from(second: Path) -> None:
    (said,) = [event["data"] for event in events(second) if event.get("code") == "start_evaluated"]
    assert said["start_valid_loss"] == pytest.approx(0.6931, abs=1e-4)
    assert said["start_valid_rewards_margins"] == pytest.approx(0, abs=1e-5)
    assert report(second)["valid_loss"] < 0.69


def test_fifty_steps_from_a_trained_adapter_have_the_losses_and_rewards_of_trl(
    tiny_base: Path, tmp_path: Path
) -> None:
    """Given a peft model that was trained before, TRL takes that for the reference."""
    from tests.finetune.trainer.oracle import nothing_narrowed
    from tests.finetune.trainer.oracle_pairs import align_with_trl

    spec = spec_of("fp64").model_copy(update={"objective": "dpo", "settings": {"beta": 0.3}})
    rows = pairs(tiny_base, 20)
    plan = make_plan(rows, batch_size=4, epochs=10, seed=5, pack_to=None)
    start = trained_before(tiny_base, spec)
    with nothing_narrowed():
        ours, before = train_ours(tiny_base, spec, rows, plan, tmp_path, start)
        theirs = align_with_trl(
            tiny_base, spec, rows, plan, start, out=tmp_path, max_steps=STEPS, goes_on=True
        )
    assert all(torch.equal(before[name], start[name]) for name in start)
    losses = [step["train_loss"] for step in ours]
    assert losses[0] == pytest.approx(0.6931471805599453, rel=1e-9)
    gaps = [abs(a - b) / abs(b) for a, b in zip(losses, theirs.losses, strict=True)]
    assert max(gaps) < 1e-9, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
    for name in ("rewards_chosen", "rewards_rejected", "logps_chosen", "logps_rejected"):
        told = [step[f"train_{name}"] for step in ours]
        metric = theirs.metrics[name.replace("_", "/", 1)]
        assert told == pytest.approx(metric, rel=1e-4, abs=1e-4), name


def trained_before(base: Path, spec: RunSpec) -> dict[str, torch.Tensor]:
    """An adapter that is no fresh one: B is not zero."""
    model = adapted.load(base, spec.adapter, precision="fp64", device="cpu", seed=2)
    chance = torch.Generator().manual_seed(1)
    return {
        name: tensor + 0.05 * torch.randn(tensor.shape, generator=chance, dtype=tensor.dtype)
        for name, tensor in model.adapter_state().items()
    }


def test_interrupted_at_every_step_and_gone_on_with_elsewhere_it_ends_in_the_same_bytes(
    second: Path, first: Path, tiny_base: Path, tmp_path: Path
) -> None:
    """Elsewhere there is nothing of what the start was asked: it is asked again, though the weights
    are others by then."""
    run = preferring(tmp_path / "run", tiny_base, first / "result")

    def elsewhere() -> None:
        for kept in run.glob("reference-*.jsonl"):
            kept.unlink()

    assert train_interrupted(run, 24, most=60, before=elsewhere) > 2
    assert result_hash(run) == result_hash(second)


@pytest.mark.parametrize("keeps_optimizer", [True, False])
def test_with_the_optimizers_state_it_goes_on_as_if_it_had_not_stopped(
    tiny_base: Path, tmp_path: Path, keeps_optimizer: bool
) -> None:
    optim = OptimSpec(learning_rate=1e-2, schedule="constant", warmup_ratio=0).model_dump()
    told: dict[str, Any] = {"optim": optim, "batch_size": 8, "rows": 8, "valid": False}
    whole = make_run(tmp_path / "whole", tiny_base, epochs=4, **told)
    half = make_run(tmp_path / "half", tiny_base, epochs=2, **told)
    for run in (whole, half):
        train(run, Stop())
    source = half / "checkpoints" / "2"
    rest = goes_on(
        tmp_path / "rest", tiny_base, source, optimizer=keeps_optimizer, epochs=2, **told
    )
    train(rest, Stop())
    ends = [load_file(run / "result" / ADAPTER) for run in (whole, rest)]
    gap = max(float((ends[0][name] - ends[1][name]).abs().max()) for name in ends[0])
    assert gap < 1e-5 if keeps_optimizer else gap > 1e-3


def test_other_bytes_than_were_named_are_refused(
    tiny_base: Path, first: Path, tmp_path: Path
) -> None:
    run = goes_on(tmp_path / "run", tiny_base, first / "result")
    body = bytearray((run / START / ADAPTER).read_bytes())
    body[-1] ^= 1
    (run / START / ADAPTER).write_bytes(body)
    with pytest.raises(OurFault) as raised:
        train(run, Stop())
    assert raised.value.code == "start_changed"


def test_an_adapter_of_another_rank_is_refused_and_never_stretched(
    tiny_base: Path, tmp_path: Path
) -> None:
    one = make_run(tmp_path / "one", tiny_base, valid=False, rows=4, epochs=1, adapter={"r": 1})
    write_jsonl(one / "data" / "train.jsonl", chat_rows(4))
    train(one, Stop())
    run = goes_on(tmp_path / "run", tiny_base, one / "result", adapter={"r": 4})
    with pytest.raises(OurFault) as raised:
        train(run, Stop())
    assert raised.value.code == "other_adapter"


def test_an_adapter_that_began_in_the_base_goes_on_with_what_stands_still(
    tiny_base: Path, tmp_path: Path
) -> None:
    told: dict[str, Any] = {"adapter": {"r": 4, "init_lora_weights": "pissa"}, "rows": 8}
    one = make_run(tmp_path / "one", tiny_base, epochs=1, **told)
    train(one, Stop())
    run = preferring(tmp_path / "run", tiny_base, one / "result", epochs=1, **told)
    train(run, Stop())
    (said,) = [event["data"] for event in events(run) if event.get("code") == "start_evaluated"]
    assert said["start_valid_loss"] == pytest.approx(0.6931, abs=1e-4)
    assert said["start_valid_rewards_margins"] == pytest.approx(0, abs=1e-5)
