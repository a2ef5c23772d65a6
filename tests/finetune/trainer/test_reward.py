"""A reward model has the losses and figures of TRL's trainer, step by step; an interruption after
any step leaves the same bytes; and stock transformers score as it did."""

import json
from contextlib import nullcontext, suppress
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError
from safetensors.torch import load_file, save_file

from faults import OurFault, UserFault
from finetune.families import family
from finetune.families.layers import SCORE, foreign_tensors
from finetune.families.scored import SCORED, require_architecture
from finetune.families.scoring import adapted
from finetune.packaging.parity import compare_adapters
from finetune.records.kinds import Preferred
from finetune.trainer import loop
from finetune.trainer.data import make_plan
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.loop import train
from finetune.trainer.objectives import OBJECTIVES
from tests.finetune.trainer.runs import (
    bare_run,
    events,
    make_run,
    report,
    result_hash,
    write_jsonl,
)
from tests.finetune.trainer.test_dpo import pair_rows, pairs
from tests.finetune.trainer.test_oracle import STEPS, spec_of

TRLS = {"rewards_accuracies": "accuracy", "rewards_margins": "margin"}


@pytest.mark.parametrize(
    ("precision", "within", "settings"),
    [
        ("fp32", 1e-5, {}),
        ("fp64", 1e-9, {"margin": 0.5, "center_rewards_coefficient": 0.01}),
    ],
)
def test_fifty_steps_have_the_losses_and_figures_of_trl(
    tiny_base: Path, tmp_path: Path, precision: str, within: float, settings: dict[str, float]
) -> None:
    from tests.finetune.trainer.oracle import nothing_narrowed
    from tests.finetune.trainer.oracle_rewards import reward_with_trl

    told = {"objective": "reward", "family": "scoring", "settings": settings}
    spec = spec_of(precision).model_copy(update=told)
    rows = pairs(tiny_base, 20)
    if settings:  # some have one of their own
        rows = [Preferred(each.sequences, number % 3 / 4) for number, each in enumerate(rows)]
    plan = make_plan(rows, batch_size=4, epochs=10, seed=5, pack_to=None)
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        model = adapted.load(tiny_base, spec.adapter, precision=precision, device="cpu", seed=1)  # type: ignore[arg-type]
        before = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
        objective = OBJECTIVES["reward"].told(spec.settings)
        run = bare_run(spec, model, objective, rows, plan, tmp_path)
        with run.lanes:
            loop.run_to_the_end(run)
        run.events.close()
        theirs = reward_with_trl(tiny_base, spec, rows, plan, before, out=tmp_path, max_steps=STEPS)
    ours = [step.train for step in run.history.steps]
    assert len(theirs.losses) == len(ours) == STEPS
    losses = [step["train_loss"] for step in ours]
    assert losses[-1] < 0.9 * losses[0]
    gaps = [abs(a - b) / abs(b) for a, b in zip(losses, theirs.losses, strict=True)]
    print(f"reward {precision}: largest relative difference {max(gaps):.1e}")
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
    assert not torch.equal(before[SCORE], model.adapter_state()[SCORE]), "the head is trained"
    for own, name in TRLS.items():
        figures = [step[f"train_{own}"] for step in ours]
        assert figures == pytest.approx(theirs.metrics[name], rel=1e-4, abs=1e-4), name
    means = [(s["train_rewards_chosen"] + s["train_rewards_rejected"]) / 2 for s in ours]
    assert means == pytest.approx(theirs.metrics["mean_reward"], rel=1e-4, abs=1e-4)


def make_rewarding(folder: Path, base: Path, **spec: Any) -> Path:
    told: dict[str, Any] = {"batch_size": 3, "save_every": 1, "micro_batch_tokens": 150}
    told |= {"objective": "reward", "family": "scoring", "lanes": 2}
    run = make_run(folder, base, **(told | spec))
    write_jsonl(run / "data" / "train.jsonl", pair_rows(9))
    write_jsonl(run / "data" / "valid.jsonl", pair_rows(4, start=100))
    return run


class StopAfterAStep(Stop):
    """Yields as soon as there is another checkpoint than at its beginning."""

    def __init__(self, run: Path) -> None:
        super().__init__()
        self.run, self.begun = run, newest(run)

    def check(self) -> None:
        self.requested = newest(self.run) > self.begun
        super().check()


def newest(run: Path) -> int:
    return max((int(each.name) for each in run.glob("checkpoints/[0-9]*")), default=0)


@pytest.fixture(scope="module")
def made(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_rewarding(tmp_path_factory.mktemp("reward") / "run", tiny_base)
    train(run, Stop())
    return run


def test_pairs_held_out_are_told_apart_better_than_before(made: Path) -> None:
    told = [event["data"] for event in events(made, "metrics")]
    (begun,) = [e["data"] for e in events(made, "message") if "base_valid_loss" in e["data"]]
    assert told[-1]["valid_loss"] < begun["base_valid_loss"]
    assert told[-1]["valid_rewards_margins"] > begun["base_valid_rewards_margins"]
    found = report(made)["preferences"]
    assert found["pairs"] == 4
    assert found["before"]["accuracy"] == begun["base_valid_rewards_accuracies"]
    assert found["after"]["accuracy"] == told[-1]["valid_rewards_accuracies"]
    assert found["difference"] == found["after"]["accuracy"] - found["before"]["accuracy"]
    low, high = found["after"]["interval"]
    assert low < found["after"]["accuracy"] <= high


def test_interrupted_anywhere_it_ends_in_the_same_bytes(
    made: Path, tiny_base: Path, tmp_path: Path
) -> None:
    run = make_rewarding(tmp_path / "run", tiny_base)
    while not (run / "result").exists():
        with suppress(Yielded):
            train(run, StopAfterAStep(run))
    assert result_hash(run) == result_hash(made)
    told = [event for event in events(run, "message") if event["code"] == "step_resumed"]
    resumed = {event["data"]["step"] for event in told}
    assert resumed >= set(range(1, 7)), "it went on from each step"


def test_it_goes_on_with_the_head_of_a_reward_model_and_draws_one_for_a_model_that_writes(
    made: Path, tiny_base: Path
) -> None:
    state = load_file(made / "result" / "adapter_model.safetensors")
    spec = spec_of("fp32").adapter.model_copy(update={"r": 16})
    model: Any = family("scoring").load(tiny_base, spec, precision="fp32", device="cpu", seed=3)
    drawn = model.score.detach().clone()
    model.begin_from({name: tensor for name, tensor in state.items() if name != SCORE})
    assert torch.equal(model.score, drawn)
    model.begin_from(state)
    assert torch.equal(model.score, state[SCORE])
    layout = model.lay_out(pairs(tiny_base, 1)[0].sequences, share_prefixes=True)
    with torch.no_grad():
        begun = model.scores(layout)
        model.score.zero_()
        assert not model.scores(layout).any()
        with model.as_begun():
            assert torch.equal(model.scores(layout), begun)
        model.load_adapter_state(state)


def test_stock_peft_and_transformers_give_the_same_scores(made: Path, tiny_base: Path) -> None:
    result = made / "result"
    config = json.loads((result / "adapter_config.json").read_bytes())
    assert (config["task_type"], config["modules_to_save"]) == ("SEQ_CLS", ["score"])
    found = compare_adapters("scoring", tiny_base, result, result, "fp32")
    assert found.moved > 1e-2
    assert found.max_abs_diff < 1e-5
    names = load_file(result / "adapter_model.safetensors").keys()
    assert foreign_tensors(names, tiny_base, scores=True) == []
    assert foreign_tensors(names, tiny_base) == [SCORE]


@pytest.mark.parametrize("broken", ["another", "absent"])
def test_a_packed_head_that_is_not_the_trained_one_is_not_given_out(
    made: Path, tiny_base: Path, tmp_path: Path, broken: str
) -> None:
    state = load_file(made / "result" / "adapter_model.safetensors")
    head = state.pop(SCORE)
    changed = {**state, SCORE: head + 0.01} if broken == "another" else state
    save_file(changed, tmp_path / "adapter_model.safetensors", metadata={"format": "pt"})
    config = (made / "result" / "adapter_config.json").read_bytes()
    (tmp_path / "adapter_config.json").write_bytes(config)
    with pytest.raises(OurFault) as refused:
        compare_adapters("scoring", tiny_base, made / "result", tmp_path, "fp32")
    assert refused.value.code == "parity_failed"


def test_a_narrow_base_keeps_a_wide_head(tiny_base: Path, tmp_path: Path) -> None:
    run = make_rewarding(tmp_path / "run", tiny_base, precision="bf16", epochs=1)
    train(run, Stop())
    assert load_file(run / "result" / "adapter_model.safetensors")[SCORE].dtype == torch.float32
    found = compare_adapters("scoring", tiny_base, run / "result", run / "result", "bf16")
    assert found.max_abs_diff < 1e-3


def test_the_architectures_offered_are_those_that_stock_transformers_score_with() -> None:
    from transformers.models.auto.modeling_auto import (
        MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES as KNOWN,
    )

    from finetune.families.causal_lm.architectures import ARCHITECTURES

    assert all(ARCHITECTURES[name] in KNOWN for name in SCORED)
    with pytest.raises(UserFault, match="Granite") as refused:
        require_architecture("GraniteForCausalLM")
    assert refused.value.code == "base_without_score"


@pytest.mark.parametrize("wrong", [{"margin": -1}, {"center_rewards_coefficient": -1}, {"beta": 1}])
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        OBJECTIVES["reward"].told(wrong)
