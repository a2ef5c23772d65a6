"""An objective of another kind than SFT goes through the same loop: pairs that are never parted,
metrics under the names that it declares, the same bytes after an interruption."""

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from faults import OurFault
from finetune.families.causal_lm.adapted import CausalLM
from finetune.families.causal_lm.layout import Layout
from finetune.records.kinds import Encode, Group, Item, RecordKind
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives import METHODS, OBJECTIVES, Metric, Objective, Sums, usable
from tests.finetune.trainer.runs import (
    chat_rows,
    events,
    make_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)

STEPS = 6  # 9 pairs, 3 a step, 2 epochs


@dataclass(frozen=True)
class Pair(Group):
    weight: float


def read_pair(record: Any, encode: Encode) -> Pair:
    prompt = record["messages"]
    chosen, rejected = (
        encode({"messages": [*prompt, {"role": "assistant", "content": record[which]}]})
        for which in ("chosen", "rejected")
    )
    return Pair((chosen, rejected), weight=record["weight"])


PAIR = RecordKind("pair", read_pair)


def log_likelihoods(model: CausalLM, batch: Layout, items: Sequence[Item]) -> Tensor:
    """Of each sequence's trained tokens, [sequences]."""
    hidden = model.hidden(batch).index_select(0, batch.predict)
    losses = cross_entropy(hidden @ model.head.t(), batch.targets, reduction="none")
    lengths = [sequence.trained for item in items for sequence in item.sequences]
    return -torch.stack([part.sum() for part in losses.split(lengths)])


def weighted_margin(model: CausalLM, batch: Layout, items: Sequence[Pair]) -> Sums:
    """The chosen answers' likelihood and how far it is above the rejected ones', by weight."""
    assert all(len(item.sequences) == 2 for item in items)
    chosen, rejected = log_likelihoods(model, batch, items).view(-1, 2).unbind(1)
    weights = torch.tensor([item.weight for item in items])
    margins = chosen - rejected
    return Sums(
        loss=-(weights * (chosen + torch.nn.functional.logsigmoid(margins))).sum(),
        weight=sum(item.weight for item in items),
        metrics={"margin": (margins.sum(), len(items)), "wins": ((margins > 0).sum(), len(items))},
    )


MARGIN = Objective(
    name="margin",
    records=PAIR,
    sums=weighted_margin,
    metrics=(Metric("margin"), Metric("wins", valid_name="win_rate")),
)


def make_pairs(folder: Path, base: Path, objective: str = "margin") -> Path:
    run = make_run(
        folder, base, objective=objective, batch_size=3, save_every=2, micro_batch_tokens=150
    )
    for name, count in (("train", 9), ("valid", 3)):
        pairs = []
        for number, row in enumerate(chat_rows(count)):
            *prompt, answer = row["messages"]
            pairs.append(
                {
                    "messages": prompt,
                    "chosen": answer["content"],
                    "rejected": "turn off" + " please" * (number % 3),
                    "weight": 1 + number / 8,
                }
            )
        write_jsonl(run / "data" / f"{name}.jsonl", pairs)
    return run


@pytest.fixture(scope="module")
def undisturbed(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = make_pairs(tmp_path_factory.mktemp("pairs") / "run", tiny_base)
    train(run, Stop(), {"margin": MARGIN})
    return run


def test_a_second_objective_trains_and_its_metrics_have_the_names_it_declares(
    undisturbed: Path,
) -> None:
    table = (undisturbed / "result" / "metrics.csv").read_text().splitlines()
    assert table[0] == (
        "step,train_loss,train_margin,train_wins,valid_loss,valid_margin,valid_win_rate"
    )
    assert len(table) == STEPS + 1
    told = [event["data"] for event in events(undisturbed, "metrics")]
    assert all({"train_loss", "train_margin", "train_wins"} <= data.keys() for data in told)
    assert not any("accuracy" in name for data in told for name in data)
    assert told[-1]["valid_margin"] > told[0]["train_margin"]  # it learns what it aims at
    said = [event["data"] for event in events(undisturbed, "message")]
    assert any({"base_valid_loss", "base_valid_win_rate"} <= data.keys() for data in said)


def test_trained_tokens_are_counted_for_whatever_the_loss_is_divided_by(undisturbed: Path) -> None:
    an_epoch = events(undisturbed, "message")[0]["data"]["trained_tokens_per_epoch"]
    told = report(undisturbed)
    assert told["trained_tokens"] == 2 * an_epoch
    last = [event["data"] for event in events(undisturbed, "metrics")][STEPS // 2 :]
    assert sum(step["weight"] for step in last) == sum(1 + n / 8 for n in range(9))
    mean = sum(s["train_loss"] * s["weight"] for s in last) / sum(s["weight"] for s in last)
    assert told["train_loss"] == pytest.approx(mean, rel=1e-12)


def test_interrupted_between_any_micro_batches_it_ends_in_the_same_bytes(
    undisturbed: Path, tiny_base: Path, tmp_path: Path
) -> None:
    run = make_pairs(tmp_path / "run", tiny_base)
    assert train_interrupted(run, 8, {"margin": MARGIN}, most=60) > 1
    assert result_hash(run) == result_hash(undisturbed)


def test_metrics_that_were_not_declared_are_refused(tiny_base: Path, tmp_path: Path) -> None:
    silent = Objective(name="margin", records=PAIR, sums=weighted_margin)
    with pytest.raises(ValueError, match=r"measured \['margin', 'wins'\], but declares \[\]"):
        train(make_pairs(tmp_path / "run", tiny_base), Stop(), {"margin": silent})


def test_a_need_that_the_trainer_does_not_give_ends_the_run_before_it_loads_anything() -> None:
    needy = Objective(
        name="needy", records=PAIR, sums=weighted_margin, needs=frozenset({"reward_model"})
    )
    with pytest.raises(OurFault, match="reward_model") as caught:
        usable("needy", {"needy": needy})
    assert caught.value.code == "unmet_need"


def test_an_objective_of_another_version_is_told(tiny_base: Path, tmp_path: Path) -> None:
    with pytest.raises(OurFault, match="margin") as caught:
        train(make_pairs(tmp_path / "run", tiny_base), Stop())
    assert caught.value.code == "unknown_objective"


def test_every_method_runs_an_objective_that_is_registered_under_its_own_name() -> None:
    assert {n: usable(o.name, family=o.family) for n, o in METHODS.items()} == METHODS
    assert all(name == objective.name for name, objective in OBJECTIVES.items())


def test_reading_what_is_offered_brings_no_torch() -> None:
    code = "import sys; import finetune.trainer.objectives; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
