"""Lanes change how fast a result is there, and no bit of it."""

from pathlib import Path
from typing import Any

import pytest
import torch

from faults import OurFault
from finetune.families.causal_lm import adapted
from finetune.families.contract import AdapterSpec
from finetune.states import ExitCode
from finetune.trainer import lanes, loop
from finetune.trainer.cores import lanes_for
from finetune.trainer.lanes import Lanes, deal
from finetune.trainer.lifeline import Yielded
from finetune.trainer.run import Run
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import StopAfter, error, events, finish, make_run, result_hash

SPECS: dict[str, dict[str, Any]] = {
    "fp32": {},
    "fp64, dora": {"precision": "fp64", "adapter": {"r": 4, "use_dora": True}},
    "bf16, packing": {"precision": "bf16", "packing": True, "batch_size": 2, "max_length": 128},
    "recomputed": {"gradient_checkpointing": True, "micro_batch_tokens": 120},
    "unshared": {"share_prefixes": False, "eval_every": 2},
    "dropout": {"adapter": {"r": 4, "dropout": 0.1}},
}


def at_once(monkeypatch: pytest.MonkeyPatch, cores: int) -> None:
    monkeypatch.setattr(lanes, "available_cores", lambda: cores)


def make_dealt(folder: Path, base: Path, **spec: Any) -> Path:
    return make_run(folder, base, **{"threads": 3, "lanes": 3, "epochs": 1} | spec)


@pytest.mark.parametrize("name", SPECS)
def test_however_many_lanes_are_at_work_the_result_has_the_same_bytes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    hashes = set()
    for cores in (1, 2, 3):
        at_once(monkeypatch, cores)
        folder = make_dealt(tmp_path / str(cores), tiny_base, **SPECS[name])
        assert finish(folder) == ExitCode.DONE
        told = next(e["data"] for e in events(folder, "message") if "at_once" in e["data"])
        assert told == (
            {"lanes": 1, "at_once": 1} if name == "dropout" else {"lanes": 3, "at_once": cores}
        )
        hashes.add(result_hash(folder))
    assert len(hashes) == 1


def test_a_dealt_step_has_the_undealt_ones_sums(tiny_base: Path, tmp_path: Path) -> None:
    losses = {}
    for lanes_ in (1, 3):
        folder = make_dealt(tmp_path / str(lanes_), tiny_base, precision="fp64", lanes=lanes_)
        assert finish(folder) == ExitCode.DONE
        losses[lanes_] = [e["data"]["train_loss"] for e in events(folder, "metrics")]
    # AdamW divides by the gradient's own size, so that rounding shows where it is nearly zero
    assert losses[3] == pytest.approx(losses[1], rel=1e-7)


def test_a_run_that_was_stopped_goes_on_with_another_number_of_lanes(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = make_dealt(tmp_path / "whole", tiny_base)
    assert finish(whole) == ExitCode.DONE
    folder = make_dealt(tmp_path / "run", tiny_base)
    at_once(monkeypatch, 3)
    with pytest.raises(Yielded):
        loop.train(folder, StopAfter(4))  # heard before the next micro-batch
    at_once(monkeypatch, 1)
    assert finish(folder) == ExitCode.DONE
    said = [event["message"] for event in events(folder)]
    assert any(text.startswith("Resumed from step") for text in said)
    assert not [event for event in events(folder) if event["level"] == "warn"]
    assert result_hash(folder) == result_hash(whole)


def test_a_fault_in_a_lane_ends_the_run_with_that_fault(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    at_once(monkeypatch, 3)
    lay_out, dealt = Run.lay_out, []

    def fails(run: Run, rows: Any) -> Any:
        dealt.append(rows)
        if len(dealt) == 5:
            raise OurFault("broken", "A lane broke.")
        return lay_out(run, rows)

    monkeypatch.setattr(Run, "lay_out", fails)
    folder = make_dealt(tmp_path / "run", tiny_base)
    assert finish(folder) == ExitCode.OURS
    assert error(folder)["code"] == "broken"
    assert not (folder / "result").exists()


def test_a_step_that_is_not_finite_is_skipped_in_lanes_too(tiny_base: Path, tmp_path: Path) -> None:
    optim = {"learning_rate": 1e30, "warmup_ratio": 0, "schedule": "constant"}
    folder = make_dealt(tmp_path / "run", tiny_base, valid=False, optim=optim)
    assert finish(folder) == ExitCode.DATA
    assert error(folder)["code"] == "training_diverged"


def test_rows_are_dealt_evenly_and_keep_their_order() -> None:
    rows = ["a" * n for n in (1, 2, 3, 4, 5, 6, 7, 8)]
    shares = deal(rows, 2)  # type: ignore[arg-type]
    assert [sum(map(len, share)) for share in shares] == [18, 18]  # type: ignore[arg-type]
    assert all(share == sorted(share, key=len) for share in shares)
    assert sorted(row for share in shares for row in share) == sorted(rows)  # type: ignore[type-var]
    assert deal(rows[:1], 4) == [rows[:1]]  # type: ignore[arg-type]


def test_the_threads_are_shared_out_among_the_lanes(monkeypatch: pytest.MonkeyPatch) -> None:
    at_once(monkeypatch, 4)
    before = torch.get_num_threads()
    with Lanes(2, threads=4) as pair:
        assert pair.at_once == 2
        assert pair.map(lambda _: torch.get_num_threads(), ["ab", "cd"]) == [2, 2]  # type: ignore[list-item]
        assert pair.map(lambda _: torch.get_num_threads(), ["ab"]) == [before]  # type: ignore[list-item]
    assert torch.get_num_threads() == before
    with Lanes(2, threads=1) as one:
        assert one.at_once == 1  # two would take more than they were given


def test_a_base_whose_positions_remember_is_run_by_one_lane(tmp_path: Path) -> None:
    from transformers import LlamaConfig, LlamaForCausalLM

    sizes = {"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 1, "vocab_size": 32}
    for rope, lanes_ in (("default", 2), ("dynamic", 1)):
        parameters = {"rope_type": rope, "rope_theta": 1e4, "factor": 2.0}
        config = LlamaConfig(**sizes, num_attention_heads=2, rope_parameters=parameters)
        model = adapted.attach(LlamaForCausalLM(config), AdapterSpec(), seed=0)
        assert lanes.lanes_of(RunSpec(lanes=2), model) == lanes_
    assert lanes.lanes_of(RunSpec(lanes=2, device="cuda"), model) == 1


def test_a_spec_from_before_lanes_keeps_its_digest() -> None:
    assert "lanes" not in RunSpec().model_dump_json()
    assert RunSpec.model_validate_json(RunSpec().model_dump_json()).lanes == 1
    assert RunSpec.model_validate_json(RunSpec(lanes=2).model_dump_json()).lanes == 2


@pytest.mark.parametrize(
    ("rows", "threads", "lanes"),
    [(1, 4, 1), (8, 2, 1), (15, 2, 1), (16, 1, 1), (16, 2, 2), (16, 4, 2), (64, 16, 4)],
)
def test_a_lane_is_for_so_many_rows_that_it_is_worth_its_own_beginning(
    rows: int, threads: int, lanes: int
) -> None:
    assert lanes_for(rows, threads) == lanes
