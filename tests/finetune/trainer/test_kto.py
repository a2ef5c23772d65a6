"""Answers that were found good or not are trained as TRL's KTOTrainer trains them, also where they
come in pairs, and an interruption anywhere leaves the same bytes."""

from collections.abc import Iterator, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from finetune.families.causal_lm.layout import Row
from finetune.records.answers import behind
from finetune.records.kinds import Group, Item, Rated
from finetune.trainer.data import Plan, make_plan
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives.kto import KTO, METRICS
from finetune.trainer.run import Known
from tests.finetune.trainer.runs import (
    encoded,
    events,
    make_run,
    result_hash,
    train_interrupted,
    write_jsonl,
)
from tests.finetune.trainer.test_dpo import pair_rows, train_ours
from tests.finetune.trainer.test_oracle import STEPS, spec_of

PLACES = ("kitchen", "bedroom", "hall", "cellar")


def rated_rows(count: int, *, start: int = 0) -> list[dict[str, Any]]:
    """Of unlike lengths, three good ones in five."""
    return [
        {
            "prompt": "turn on the light in the " + PLACES[n % 4] + " please" * (n % 3) + ":",
            "completion": " on" * (1 + n % 4) + f" {n * n}",
            "label": n % 5 in (0, 2, 3),
        }
        for n in range(start, start + count)
    ]


def rated(base: Path, rows: list[dict[str, Any]]) -> list[Rated]:
    texts = [{name: row[name] for name in ("prompt", "completion")} for row in rows]
    found = encoded(base, texts)
    return [Rated(row, told["label"]) for row, told in zip(found, rows, strict=True)]


def texts_of_pairs(count: int) -> list[dict[str, Any]]:
    return [
        {
            "prompt": row["prompt"],
            "chosen": row["completion"],
            "rejected": " off" * (1 + n % 3),
        }
        for n, row in enumerate(rated_rows(count))
    ]


def steps_of(
    plan: Plan, rows: list[dict[str, Any]], paired: bool
) -> Iterator[list[dict[str, Any]]]:
    for step in range(STEPS):
        taken = [rows[number] for number in plan.rows_of(step)]
        if not paired:
            yield taken
        else:  # as TRL parts them: all chosen ones, then all rejected ones
            yield [
                {"prompt": row["prompt"], "completion": row[side], "label": side == "chosen"}
                for side in ("chosen", "rejected")
                for row in taken
            ]


@pytest.mark.parametrize(
    ("precision", "within", "paired"),
    [("fp32", 1e-5, False), ("fp64", 1e-9, False), ("fp64", 1e-9, True)],
)
def test_fifty_steps_have_the_losses_and_figures_of_trl(
    shallow_base: Path, tmp_path: Path, precision: str, within: float, paired: bool
) -> None:
    from tests.finetune.trainer.oracle import nothing_narrowed
    from tests.finetune.trainer.oracle_pairs import rate_with_trl

    settings = {"beta": 0.3, "desirable_weight": 1.0, "undesirable_weight": 1.4}
    spec = spec_of(precision).model_copy(update={"objective": "kto", "settings": settings})
    rows = texts_of_pairs(20) if paired else rated_rows(20)
    items: Sequence[Item] = pairs(shallow_base, rows) if paired else rated(shallow_base, rows)
    plan = make_plan(items, batch_size=4, epochs=10, seed=5, pack_to=None)
    with nothing_narrowed() if precision == "fp64" else nullcontext():
        ours, before = train_ours(shallow_base, spec, list(items), plan, tmp_path)
        steps = list(steps_of(plan, rows, paired))
        theirs = rate_with_trl(shallow_base, spec, steps, before, out=tmp_path)
    assert len(theirs.losses) == len(ours) == STEPS
    losses = [step["train_loss"] for step in ours]
    assert sum(losses[-5:]) < 0.9 * sum(losses[:5])
    gaps = [abs(a - b) / abs(b) for a, b in zip(losses, theirs.losses, strict=True)]
    print(f"kto {precision} paired={paired}: largest relative difference {max(gaps):.1e}")
    assert max(gaps) < within, f"step {gaps.index(max(gaps)) + 1}: {max(gaps)}"
    assert paired or max(step["train_kl"] for step in ours) > 0.01
    for metric in METRICS:
        name = metric.name if metric.name == "kl" else metric.name.replace("_", "/", 1)
        for told, figure in zip(ours, theirs.metrics[name], strict=True):
            ours_told = told.get(metric.train_column)
            assert (ours_told is None) == (figure is None), name
            assert figure is None or ours_told == pytest.approx(figure, rel=1e-4, abs=1e-4), name


def pairs(base: Path, rows: list[dict[str, Any]]) -> list[Group]:
    sides = [
        encoded(base, [{"prompt": row["prompt"], "completion": row[side]} for row in rows])
        for side in ("chosen", "rejected")
    ]
    return [Group(both) for both in zip(*sides, strict=True)]


def make_rated(folder: Path, base: Path, rows: Any = rated_rows, **spec: Any) -> Path:
    told: dict[str, Any] = {"batch_size": 3, "save_every": 1, "micro_batch_tokens": 150}
    run = make_run(folder, base, objective="kto", **(told | spec))
    write_jsonl(run / "data" / "train.jsonl", rows(10))  # the last step of an epoch has one row
    write_jsonl(run / "data" / "valid.jsonl", rows(4, start=100))
    return run


@pytest.fixture(scope="module", params=[rated_rows, pair_rows], ids=["rated", "pairs"])
def undisturbed(
    request: pytest.FixtureRequest, shallow_base: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, Any]:
    run = make_rated(tmp_path_factory.mktemp("kto") / "run", shallow_base, request.param)
    train(run, Stop())
    return run, request.param


def test_the_base_has_strayed_nowhere_and_the_result_favours_what_is_good(
    undisturbed: tuple[Path, Any],
) -> None:
    run, _ = undisturbed
    said = [event["data"] for event in events(run, "message")]
    (base,) = [data for data in said if "base_valid_kl" in data]
    assert base["base_valid_kl"] == pytest.approx(0, abs=1e-5)
    assert base["base_valid_loss"] == pytest.approx(0.5, abs=1e-5)
    told = [event["data"] for event in events(run, "metrics")]
    assert told[-1]["valid_rewards_margins"] > 0
    assert told[-1]["valid_loss"] < 0.5
    rows = (run / "result" / "validation_rows.csv").read_text().splitlines()[1:]
    weights, losses = ([float(row.split(",")[n]) for row in rows] for n in (1, 3))
    assert sum(losses) / sum(weights) == pytest.approx(told[-1]["valid_loss"], rel=1e-6)


def test_a_step_without_bad_answers_tells_nothing_of_them(
    undisturbed: tuple[Path, Any],
) -> None:
    run, rows = undisturbed
    told = [event["data"] for event in events(run, "metrics")]
    lacking = [step for step in told if "train_rewards_rejected" not in step]
    assert bool(lacking) == (rows is rated_rows)
    assert all("train_rewards_margins" not in step for step in lacking)


def test_interrupted_anywhere_it_ends_in_the_same_bytes(
    undisturbed: tuple[Path, Any], shallow_base: Path, tmp_path: Path
) -> None:
    """Elsewhere, where what the base was asked is not known, too."""
    whole, rows = undisturbed
    run = make_rated(tmp_path / "run", shallow_base, rows)

    def elsewhere() -> None:
        for kept in run.glob("reference-*.jsonl"):
            kept.unlink()

    assert train_interrupted(run, 20 if rows is rated_rows else 60, before=elsewhere) > 1
    assert result_hash(run) == result_hash(whole)


def test_an_answer_stands_behind_the_prompt_of_another_row() -> None:
    one = Row([1, 2, 3, 4, 5], [False, False, True, True, False])
    other = Row([6, 7, 8], [False, True, True])
    joined = behind(one, other, 10)
    assert (joined.input_ids, list(joined.labels)) == ([1, 2, 7, 8], [0, 0, 1, 1])
    assert len(behind(one, other, 3)) == 3


class Recording:
    """Tells what was asked."""

    longest = 100

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __call__(self, items: Sequence[Any], *, plain: bool = False) -> list[tuple[float, ...]]:
        if not plain:
            self.asked = [list(item.input_ids) for item in items]
        return [(-3.0 if plain else -1.0 - number,) for number in range(len(items))]


def test_no_answer_of_a_pair_stands_behind_its_own_prompt() -> None:
    def pair(number: int) -> Known:
        sides = (number + 1, number + 2)
        return Known(Group(tuple(Row([number, side], [False, True]) for side in sides)), (0.0, 0.0))

    ask = Recording()
    assert KTO.common is not None
    assert KTO.common([pair(10), pair(20)], ask) == 0.5
    assert ask.asked == [[10, 22], [20, 11], [10, 21], [20, 12]]


@pytest.mark.parametrize(
    "wrong",
    [{"beta": 0}, {"desirable_weight": 0}, {"undesirable_weight": -1}, {"loss_type": "kto"}],
)
def test_settings_out_of_range_are_refused(wrong: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        KTO.told(wrong)
