"""Training by rewards learns as TRL's GRPOTrainer and RLOOTrainer do of the same completions and
rewards, draws by the engine that serves, and an interruption anywhere leaves the same bytes."""

import json
import random
import shutil
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
import torch
from pydantic import ValidationError

from faults import OurFault, UserFault
from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.layout import Row
from finetune.families.contract import AdapterSpec
from finetune.grading.grade import Errors, Graded
from finetune.records.answers import followed
from finetune.trainer import loop
from finetune.trainer.data import make_plan
from finetune.trainer.generating import Answer, Generator
from finetune.trainer.lifeline import Stop, Yielded
from finetune.trainer.objectives.policy import group_advantages, left_out_advantages
from finetune.trainer.objectives.reinforcement import REINFORCEMENT, ReinforcementSettings
from finetune.trainer.rewards import Rewards
from finetune.trainer.rollouts import Rollouts
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import (
    PLACES,
    StopAfter,
    bare_run,
    encoded,
    events,
    report,
    result_hash,
    write_jsonl,
)
from tests.finetune.trainer.test_oracle import STEPS, spec_of

GRADER = {
    "type": "string_check",
    "name": "place",
    "operation": "like",
    "input": "{{ sample.output_text }}",
    "reference": "{{ item.place }}",
}
END = 2  # <|im_end|>


def prompt_rows(count: int) -> list[dict[str, Any]]:
    rows = []
    for number in range(count):
        place = PLACES[number % len(PLACES)]
        asked = "where is the light" + " please" * (number % 3) + f" {number}"
        rows.append({"messages": [{"role": "user", "content": asked}], "item": {"place": place}})
    return rows


def given_for(count: int) -> Any:
    """Of each drawing the same completions and rewards, whoever asks."""

    def given(drawing: int) -> tuple[list[list[int]], list[float]]:
        numbers = random.Random(drawing)
        completions, rewards = [], []
        for _ in range(count):
            ids = [numbers.randrange(3, 300) for _ in range(numbers.randint(1, 7))]
            completions.append([*ids, END] if numbers.random() < 0.7 else ids)
            rewards.append(numbers.randrange(9) / 8)  # float32 holds it
        return completions, rewards

    return given


def make_folder(folder: Path, base: Path, spec: RunSpec, rows: list[dict[str, Any]]) -> Path:
    (folder / "data").mkdir(parents=True)
    (folder / "base").symlink_to(base)
    write_jsonl(folder / "data" / "train.jsonl", rows)
    spec.write(folder)
    return folder


@pytest.mark.parametrize(
    ("precision", "within", "settings"),
    [
        ("fp32", 1e-5, {"beta": 0.04}),
        ("fp64", 1e-8, {"beta": 0.04, "temperature": 0.7}),
        ("fp64", 1e-8, {"loss_type": "grpo", "scale_rewards": "batch"}),
        ("fp64", 1e-8, {"loss_type": "dr_grpo", "scale_rewards": "none", "num_iterations": 2.0,
                        "epsilon": 0.01, "epsilon_high": 0.02}),
        ("fp64", 1e-8, {"algorithm": "rloo", "beta": 0.05}),
    ],
)  # fmt: skip
def test_fifty_steps_learn_from_fixed_completions_as_trl(
    shallow_base: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    precision: str,
    within: float,
    settings: dict[str, Any],
) -> None:
    from tests.finetune.trainer.oracle import nothing_narrowed
    from tests.finetune.trainer.oracle_rollouts import reinforce_with_trl

    generations = 4
    settings = {"num_generations": 4.0, "max_completion_tokens": 8.0} | settings
    spec = spec_of(precision).model_copy(
        update={"settings": settings, "objective": "reinforcement", "grader": GRADER}
    )
    repeats = int(settings.get("num_iterations", 1))
    rows = prompt_rows(20)
    folder = make_folder(tmp_path / "run", shallow_base, spec, rows)
    items = encoded(shallow_base, rows)
    plan = make_plan(
        items, batch_size=4, epochs=10 // repeats, seed=5, pack_to=None, repeats=repeats
    )
    assert plan.total_steps == STEPS
    given = given_for(4 * generations)
    drawings: list[int] = []

    def answers(self: Generator, asked: Any, **_: Any) -> list[list[Answer]]:
        drawings.append(len(drawings))
        ids = iter(given(drawings[-1])[0])
        return [[Answer(ids=next(ids)) for _ in range(each.count)] for each in asked]

    def graded(self: Rewards, name: str, found: Any) -> list[Graded]:
        return [Graded(reward, 0.0, Errors(), {}, {}) for reward in given(drawings[-1])[1]]

    monkeypatch.setattr(Generator, "answers", answers)
    monkeypatch.setattr(Rewards, "of", graded)
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        model = adapted.load(
            shallow_base, spec.adapter, precision=spec.precision, device="cpu", seed=1
        )
        before = {name: tensor.clone() for name, tensor in model.adapter_state().items()}
        run = bare_run(spec, model, REINFORCEMENT.told(spec.settings), items, plan, folder)
        run.rollouts = Rollouts(
            spec, model, folder, run.stop, rewards=Rewards(spec.grader, folder, run.stop)
        )
        with run.lanes:
            loop.run_to_the_end(run)
        run.events.close()
        theirs, prompts = reinforce_with_trl(
            shallow_base, spec, rows, plan, before, given, out=tmp_path / "trl"
        )
    assert drawings == list(range(STEPS // repeats))
    steps = run.history.steps
    asked = [list(items[n].input_ids) for n in plan.rows_of(0) for _ in range(generations)]
    assert prompts[: len(asked)] == asked
    losses = [step.train_loss for step in steps]
    assert losses == pytest.approx(theirs.losses, rel=within, abs=within)
    norms = [step.grad_norm for step in steps]
    assert norms == pytest.approx(theirs.norms, rel=max(1e-6, 10 * within))
    assert norms[0] is not None
    assert norms[0] > 0.01
    if "kl" in theirs.metrics and settings.get("algorithm") != "rloo":
        told = [step.train["train_kl"] for step in steps]
        assert told == pytest.approx(theirs.metrics["kl"], rel=1e-4, abs=1e-6)
        assert told[-1] > 1e-4
    if repeats > 1:
        assert any(step.train["train_clip_ratio"] > 0 for step in steps)
    for name, tensor in model.adapter_state().items():
        assert torch.allclose(tensor, theirs.adapter[name].to(tensor), rtol=0, atol=1e-4)


def make_drawing(folder: Path, base: Path, **spec: Any) -> Path:
    """A run that draws for itself: 6 prompts, 3 a step, 2 epochs, validation by 2 prompts."""
    settings = {"num_generations": 4.0, "max_completion_tokens": 6.0} | spec.pop("settings", {})
    told: dict[str, Any] = {
        "objective": "reinforcement", "settings": settings, "grader": GRADER, "batch_size": 3,
        "epochs": 2, "save_every": 1, "micro_batch_tokens": 150, "threads": 1,
        "data": {"valid": "data/valid.jsonl"},
    }  # fmt: skip
    run = make_folder(folder, base, RunSpec.model_validate(told | spec), prompt_rows(6))
    write_jsonl(run / "data" / "valid.jsonl", prompt_rows(2))
    return run


MULTI = {
    "type": "multi", "name": "both", "calculate_output": "0.5 * place + 0.5 * short",
    "graders": {
        "place": GRADER,
        "short": GRADER | {"name": "short", "operation": "eq", "reference": "light"},
    },
}  # fmt: skip
MANY = [
    {},
    {"settings": {"algorithm": "rloo"}},
    {"settings": {"num_iterations": 2.0, "beta": 0.1}, "grader": MULTI},
]


@pytest.mark.parametrize("spec", MANY)
def test_an_interruption_anywhere_leaves_the_same_bytes(
    spec: dict[str, Any], shallow_base: Path, tmp_path: Path
) -> None:
    undisturbed = make_drawing(tmp_path / "undisturbed", shallow_base, **spec)
    counted = StopAfter(10**6)
    loop.train(undisturbed, counted)
    wanted, checks = result_hash(undisturbed), 10**6 - counted.left
    repeats = int(spec.get("settings", {}).get("num_iterations", 1))
    assert report(undisturbed)["steps"] == 4 * repeats
    # Again and again, before and behind the first checkpoint
    cut = make_drawing(tmp_path / "parted" / "run", shallow_base, **spec)

    def stopped(left: int) -> None:
        with pytest.raises(Yielded):
            loop.train(cut, StopAfter(left))
        shutil.rmtree(cut / "rollouts", ignore_errors=True)  # as in another worker's folder

    for left in (4, checks // 3, checks // 4, checks // 4):
        stopped(left)
    assert list((cut / "checkpoints").glob("[0-9]*")), "it begins again"
    shutil.copytree(cut.parent, tmp_path / "at the end", symlinks=True)
    counted = StopAfter(10**6)
    loop.train(cut, counted)
    assert result_hash(cut) == wanted
    # and right before the end
    cut = tmp_path / "at the end" / "run"
    stopped(10**6 - counted.left - 2)
    loop.train(cut, Stop())
    assert result_hash(cut) == wanted


def test_what_was_drawn_stands_in_the_folder_and_is_not_drawn_again(
    shallow_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = make_drawing(tmp_path / "run", shallow_base, grader=MULTI)
    loop.train(run, Stop())
    files = sorted((run / "rollouts").iterdir())
    assert [path.name for path in files] == [f"{step}.jsonl" for step in range(4)]
    samples = [json.loads(line) for line in files[0].read_bytes().splitlines()]
    assert len(samples) == 3 * 4
    assert all(0 < len(each["ids"]) <= 6 and set(each["scores"]) == {"place", "short"}
               for each in samples)  # fmt: skip
    assert len({tuple(each["ids"]) for each in samples}) > 6  # each draws from numbers of its own
    found, change = report(run), report(run)["validation_change"]
    lines = (run / "result" / "validation_rows.csv").read_text().splitlines()
    assert lines[0] == "row,weight,base_loss,loss"
    assert len(lines) == 1 + change["rows"]
    wanted = found["valid_loss"] - found["base_valid_loss"]
    assert change["difference"] == pytest.approx(wanted, abs=1e-9)
    told = events(run, "metrics")[-1]["data"]
    for name in ("reward", "reward_std", "completion_length", "truncated", "silent_groups",
                 "clip_ratio", "grader_errors", "grader_place"):  # fmt: skip
        assert f"train_{name}" in told
    assert told["valid_loss"] == -told["valid_reward"]
    before = result_hash(run)
    for name in ("result", "checkpoints"):
        shutil.rmtree(run / name)
    (run / "events.jsonl").unlink()
    monkeypatch.setattr(Rollouts, "_made", lambda *_: pytest.fail("it draws again"))
    loop.train(run, Stop())
    assert result_hash(run) == before


def test_a_reward_that_a_tiny_model_can_earn_rises(shallow_base: Path, tmp_path: Path) -> None:
    shout = GRADER | {"operation": "like", "reference": "e"}
    run = make_drawing(
        tmp_path / "run", shallow_base, grader=shout, epochs=30, save_every=60,
        settings={"num_generations": 8.0}, optim={"learning_rate": 0.02, "schedule": "constant"},
    )  # fmt: skip
    loop.train(run, Stop())
    rewards = [event["data"]["train_reward"] for event in events(run, "metrics")]
    assert sum(rewards[-10:]) / 10 > sum(rewards[:10]) / 10 + 0.2


def test_a_grader_that_never_gives_a_reward_ends_the_run(
    shallow_base: Path, tmp_path: Path
) -> None:
    broken = GRADER | {"reference": "{{ item.nothing_here }}"}
    run = make_drawing(tmp_path / "run", shallow_base, grader=broken)
    with pytest.raises(UserFault, match="no reward for any answer") as raised:
        loop.train(run, Stop())
    assert raised.value.code == "grader_failed"


def test_python_needs_somebody_who_runs_it(shallow_base: Path, tmp_path: Path) -> None:
    python = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1\n"}
    run = make_drawing(tmp_path / "run", shallow_base, grader=python)
    with pytest.raises(OurFault, match="Nobody runs the Python"):
        loop.train(run, Stop())


@pytest.mark.parametrize("more", [{}, {"use_dora": True}])
def test_what_draws_is_the_model_that_learns(shallow_base: Path, more: dict[str, bool]) -> None:
    adapter = AdapterSpec.model_validate(more)
    model = adapted.load(shallow_base, adapter, precision="fp32", device="cpu", seed=1)
    torch.manual_seed(0)
    for parameter in model.parameters:
        if parameter.dim() > 1:
            torch.nn.init.uniform_(parameter.data, -0.2, 0.2)
    ids = [5, 9, 200, 31, 7, 2]
    row = followed(Row(ids[:1], [False]), ids[1:])
    told = model.token_log_probs(model.lay_out([row], share_prefixes=True), 0.5)
    with model.answering() as (base, copied):
        cache = base.new_cache()
        cache.lengths = [0]
        logits = base.forward(cache, [ids], [copied], every_position=True)[0]
    drawn = (logits / 0.5).log_softmax(-1)
    found = torch.stack([drawn[place, token] for place, token in enumerate(ids[1:])])
    assert torch.allclose(found, told, atol=1e-4)
    again = model.token_log_probs(model.lay_out([row], share_prefixes=True), 0.5)
    assert torch.equal(told, again)  # and it learns as before


def test_like_rewards_teach_nothing() -> None:
    rewards = torch.tensor([[1.0, 1.0, 1.0], [0.0, 1.0, 0.5]], dtype=torch.float64)
    for found in (group_advantages(rewards, "group"), left_out_advantages(rewards)):
        assert found[0].tolist() == [0, 0, 0]
        assert float(found[1].sum()) == pytest.approx(0, abs=1e-12)


@pytest.mark.parametrize(
    ("settings", "name"),
    [
        ({"num_generations": 1}, "num_generations"),
        ({"temperature": 0}, "temperature"),
        ({"loss_type": "ppo"}, "loss_type"),
        ({"algorithm": "rloo", "loss_type": "grpo"}, "of grpo"),
        ({"anything": 1}, "anything"),
    ],
)
def test_settings_out_of_range_are_refused(settings: dict[str, Any], name: str) -> None:
    with pytest.raises(ValidationError, match=name):
        REINFORCEMENT.told(settings)


def test_what_is_not_asked_follows_the_algorithm() -> None:
    assert ReinforcementSettings().beta == 0
    assert ReinforcementSettings.model_validate({"algorithm": "rloo"}).beta == 0.05
    assert ReinforcementSettings.model_validate({"epsilon": 0.1}).epsilon_high == 0.1
