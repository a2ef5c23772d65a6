"""Several files of rows to train, each with a weight."""

from collections import Counter
from pathlib import Path
from typing import Any

import pytest

from finetune.families.causal_lm.layout import Row
from finetune.trainer.data import Joined, Plan, line_of, make_plan
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from tests.finetune.trainer.runs import (
    chat_rows,
    events,
    make_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)
from tests.finetune.trainer.test_frozen_rows import freeze


def rows_of(*counts: int) -> Joined:
    return Joined([[Row(range(3 + n % 5), [True] * 8)] * n for n in counts])


def taken(plan: Plan, epoch: int) -> Counter[int]:
    steps = range(epoch * plan.steps_per_epoch, (epoch + 1) * plan.steps_per_epoch)
    return Counter(row for step in steps for row in plan.rows_of(step))


def plan_of(rows: Joined, *weights: float, **more: Any) -> Plan:
    settings: dict[str, Any] = {"batch_size": 4, "epochs": 4, "seed": 1, "pack_to": None}
    return make_plan(rows, weights=weights, **settings | more)


def test_each_epoch_takes_of_each_file_as_its_weight_says() -> None:
    rows = rows_of(10, 20, 6)
    plan = plan_of(rows, 1.0, 0.25, 2.0)
    assert (plan.items_per_epoch, plan.steps_per_epoch) == (10 + 5 + 12, 7)
    for epoch in range(4):
        found = taken(plan, epoch)
        assert {n: found[n] for n in range(10)} == dict.fromkeys(range(10), 1)
        assert sum(found[n] for n in range(10, 30)) == 5
        assert {n: found[n] for n in range(30, 36)} == dict.fromkeys(range(30, 36), 2)
    whole = sum((taken(plan, epoch) for epoch in range(4)), Counter[int]())
    assert {whole[n] for n in range(10, 30)} == {1}  # four quarters are other rows each


def test_the_order_follows_from_the_seed_and_is_mixed() -> None:
    rows = rows_of(10, 20)
    order = [plan_of(rows, 1.0, 0.5).rows_of(step) for step in range(5)]
    assert order == [plan_of(rows, 1.0, 0.5).rows_of(step) for step in range(5)]
    assert order != [plan_of(rows, 1.0, 0.5, seed=2).rows_of(step) for step in range(5)]
    assert all(0 < sum(row < 10 for row in step) < 4 for step in order[:3])


def test_no_pack_has_rows_of_two_files() -> None:
    plan = plan_of(rows_of(9, 9), 1.0, 1.0, pack_to=32)
    assert any(len(item) > 1 for item in plan.items)
    assert all(len({row < 9 for row in item}) == 1 for item in plan.items)
    assert sorted(row for item in plan.items for row in item) == list(range(18))


def test_joined_rows_are_those_of_the_files_one_after_the_other() -> None:
    files = [[Row([n], [True])] * 2 for n in range(3)]
    rows = Joined(files)
    assert [list(row.input_ids) for row in rows] == [[0], [0], [1], [1], [2], [2]]
    assert rows[1:3] == [files[0][1], files[1][0]]
    assert line_of(rows, 3) == 4
    with pytest.raises(IndexError):
        rows[6]


@pytest.mark.parametrize("frozen", [False, True])
def test_a_run_over_two_files_survives_any_interruption(
    tiny_base: Path, tmp_path: Path, frozen: bool
) -> None:
    data = {
        "weight": 0.5,
        "further": [{"train": "data/train-2.jsonl", "train_sha256": None, "weight": 1.5}],
    }
    folders = [
        make_run(tmp_path / name, tiny_base, valid=False, rows=12, data=data, save_every=3)
        for name in ("whole", "parted")
    ]
    for folder in folders:
        write_jsonl(folder / "data" / "train-2.jsonl", chat_rows(8, start=50))
    train(folders[0], Stop())
    if frozen:
        freeze(folders[1])
    assert train_interrupted(folders[1], 2, most=60) >= 4
    assert result_hash(folders[0]) == result_hash(folders[1])
    assert report(folders[0])["steps"] == 2 * -(-(6 + 12) // 4)
    (planned,) = [e for e in events(folders[0]) if e["code"] == "training_planned"]
    told = planned["data"]["trained_tokens_per_epoch"] * 2
    assert abs(told - report(folders[0])["trained_tokens"]) < 0.1 * told


def test_two_files_that_are_each_taken_once_train_all_rows(tiny_base: Path, tmp_path: Path) -> None:
    data = {"further": [{"train": "data/train-2.jsonl"}]}
    two = make_run(tmp_path / "two", tiny_base, valid=False, rows=8, data=data)
    one = make_run(tmp_path / "one", tiny_base, valid=False, rows=20)
    write_jsonl(two / "data" / "train-2.jsonl", chat_rows(12, start=8))
    for folder in (one, two):
        train(folder, Stop())
    for name in ("steps", "trained_tokens"):
        assert report(two)[name] == report(one)[name]
