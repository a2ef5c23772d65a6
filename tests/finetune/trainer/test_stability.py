"""A run that blows up goes back, leaves the guilty rows out, and ends as well as a clean one."""

import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
import torch

from faults import UserFault
from finetune.states import ExitCode
from finetune.trainer import good, loop, settling
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.objectives import Objective
from finetune.trainer.stability import FEWEST, WINDOW, Watched
from tests.finetune.trainer.poison import Kind, poisoned, sick
from tests.finetune.trainer.runs import (
    chat_rows,
    events,
    finish,
    killed_while,
    make_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)

ROWS = 48  # 4 a step, 2 epochs: 24 steps
SETTINGS = {"stability": "watched", "save_every": 5, "eval_every": 6, "adapter": {"r": 4}}
PLACES = [7, 30]


def make_poisoned(folder: Path, base: Path, **more: Any) -> Path:
    run = make_run(folder, base, rows=ROWS, **(SETTINGS | more))
    write_jsonl(run / "data" / "train.jsonl", poisoned(chat_rows(ROWS), PLACES))
    return run


def objectives(base: Path, kind: Kind) -> Mapping[str, Objective]:
    return {"sft": sick(base, kind)}


@pytest.fixture(scope="module")
def clean(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    settings = SETTINGS | {"stability": "off"}
    folder = make_run(tmp_path_factory.mktemp("clean") / "run", tiny_base, rows=ROWS, **settings)
    assert finish(folder) == ExitCode.DONE
    return folder


@pytest.fixture(scope="module")
def recovered(tiny_base: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = make_poisoned(tmp_path_factory.mktemp("recovered") / "run", tiny_base)
    train(folder, Stop(), objectives(tiny_base, "overflow"))
    return folder


def test_nothing_is_an_outlier_of_few_steps_but_what_is_not_finite() -> None:
    watched = Watched()
    for _ in range(FEWEST - 1):
        watched.note(1.0, 0.5)
    assert not watched.has_blown_up(1e9, 1e9, max_norm=1.0)
    assert watched.has_blown_up(math.nan, 0.5, max_norm=1.0)
    assert watched.has_blown_up(1.0, math.inf, max_norm=1.0)


def test_an_outlier_is_tenfold_and_ten_deviations_beyond_the_median() -> None:
    watched = Watched()
    for number in range(WINDOW + 5):
        watched.note(1.0 + number % 2 * 0.02, 0.5)
    assert len(watched.losses) == len(watched.norms) == WINDOW
    assert not watched.has_blown_up(1.01 + math.log(10) - 0.01, 0.5, max_norm=0.1)
    assert watched.has_blown_up(1.01 + math.log(10) + 0.01, 0.5, max_norm=0.1)
    assert not watched.has_blown_up(1.0, 4.9, max_norm=0.1)
    assert watched.has_blown_up(1.0, 5.1, max_norm=0.1)
    assert not watched.has_blown_up(1.0, 5.1, max_norm=6.0)  # clipping lets it through as it is
    wide = Watched()
    for number in range(WINDOW):
        wide.note(float(number % 2), 0.5)
    assert not wide.has_blown_up(7.0, 0.5, max_norm=0.1)  # 0.5 + 10 * 1.4826 * 0.5 is 7.9
    assert wide.has_blown_up(8.0, 0.5, max_norm=0.1)


def test_a_clean_run_has_the_bits_that_it_has_without(
    clean: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_run(tmp_path / "run", tiny_base, rows=ROWS, **SETTINGS)
    assert finish(folder) == ExitCode.DONE
    told = report(folder)
    assert (told["rollbacks"], told["skipped_rows"], told["warnings"]) == (0, [], [])
    assert result_hash(folder) == result_hash(clean)


def test_the_guilty_rows_and_no_others_are_left_out_and_named(recovered: Path, clean: Path) -> None:
    told = report(recovered)
    assert sorted(told["skipped_rows"]) == [place + 1 for place in PLACES]
    assert (told["rollbacks"], told["rate_factor"], told["skipped_steps"]) == (2, 1.0, 0)
    skipped = [event for event in events(recovered) if event["code"] == "rows_skipped"]
    assert [event["data"]["rows"] for event in skipped] == [[r] for r in told["skipped_rows"]]
    assert {event["data"]["loss"] for event in skipped} == {"nan"}
    assert [each["code"] for each in told["warnings"]] == ["training_steadied"]
    assert "HassTurnOn" not in "".join(event["message"] for event in events(recovered))
    assert told["valid_loss"] == pytest.approx(report(clean)["valid_loss"], rel=0.02)


def test_a_row_of_a_huge_loss_is_found_too(clean: Path, tiny_base: Path, tmp_path: Path) -> None:
    folder = make_poisoned(tmp_path / "run", tiny_base)
    train(folder, Stop(), objectives(tiny_base, "loss"))
    told = report(folder)
    assert sorted(told["skipped_rows"]) == [place + 1 for place in PLACES]
    assert told["rate_factor"] == 1.0


def test_resumed_before_each_micro_batch_across_the_roll_backs_it_ends_in_the_same_bytes(
    recovered: Path, tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_poisoned(tmp_path / "run", tiny_base)
    # A step that is rolled back looks six times whether it is to stop
    assert train_interrupted(folder, 8, objectives(tiny_base, "overflow")) >= 5
    assert result_hash(folder) == result_hash(recovered)
    kept = ("skipped_rows", "rollbacks", "rate_factor", "valid_loss")
    assert [report(folder)[name] for name in kept] == [report(recovered)[name] for name in kept]


@pytest.mark.parametrize("place", [(settling, "learn"), (loop, "act")])
def test_killed_in_the_middle_of_a_roll_back_it_ends_in_the_same_bytes(
    recovered: Path, tiny_base: Path, tmp_path: Path, place: tuple[Any, str]
) -> None:
    """While it asks the rows one by one, and when it knows them and has told nobody."""
    folder = make_poisoned(tmp_path / "run", tiny_base)
    sickened = objectives(tiny_base, "overflow")
    killed_while(place, 2, lambda: train(folder, Stop(), sickened))()
    train(folder, Stop(), sickened)
    assert result_hash(folder) == result_hash(recovered)
    assert report(folder)["skipped_rows"] == report(recovered)["skipped_rows"]


@pytest.fixture
def ruined_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """The update of step 14 ruins the weights, which no row is to blame for."""
    plain = torch.optim.AdamW.step

    def ruins(optimizer: torch.optim.AdamW, *given: Any) -> Any:
        done = plain(optimizer, *given)
        first = optimizer.param_groups[0]["params"][0]
        if int(optimizer.state[first]["step"]) == 14 and optimizer.param_groups[0]["lr"] > 0.006:
            for parameter in optimizer.param_groups[0]["params"]:
                parameter.data.fill_(math.inf)
        return done

    monkeypatch.setattr(torch.optim.AdamW, "step", ruins)


CONSTANT = {"optim": {"learning_rate": 1e-2, "schedule": "constant"}}


@pytest.mark.usefixtures("ruined_once")
def test_ruined_weights_go_back_and_the_rate_is_lowered(tiny_base: Path, tmp_path: Path) -> None:
    whole, parted = (
        make_run(tmp_path / name, tiny_base, rows=ROWS, **SETTINGS, **CONSTANT)
        for name in ("whole", "parted")
    )
    train(whole, Stop())
    told = report(whole)
    assert (told["rollbacks"], told["skipped_rows"], told["rate_factor"]) == (1, [], 0.5)
    (back,) = [event for event in events(whole) if event["code"] == "weights_rolled_back"]
    assert (back["data"]["step"], back["data"]["good_step"]) == (15, 0)
    assert len(back["data"]["rows"]) == 4
    assert math.isfinite(told["valid_loss"])
    rates = {m["data"]["step"]: m["data"]["learning_rate"] for m in events(whole, "metrics")}
    assert rates[24] == rates[14] / 2

    assert train_interrupted(parted, 7) >= 5
    assert result_hash(parted) == result_hash(whole)


def test_a_run_that_blows_up_too_often_fails_and_names_the_rows(
    tiny_base: Path, tmp_path: Path
) -> None:
    folder = make_poisoned(tmp_path / "run", tiny_base, max_rollbacks=1)
    with pytest.raises(UserFault) as raised:
        train(folder, Stop(), objectives(tiny_base, "overflow"))
    assert raised.value.code == "training_unstable"
    assert all(str(place + 1) in raised.value.message for place in PLACES)
    assert not (folder / "result").exists()


def test_a_rate_that_ruins_every_step_ends_with_its_reason(tiny_base: Path, tmp_path: Path) -> None:
    optim = {"learning_rate": 1e30, "warmup_ratio": 0, "schedule": "constant"}
    settings = SETTINGS | {"max_rollbacks": 3}
    folder = make_run(tmp_path / "run", tiny_base, rows=ROWS, optim=optim, **settings)
    assert finish(folder) == ExitCode.DATA
    assert [e["code"] for e in events(folder)].count("weights_rolled_back") == 3


def test_the_good_state_goes_through_a_checkpoint_whole() -> None:
    tensors = {"a": torch.randn(3)}
    kept = good.Good(16, tensors, {"a.step": torch.tensor(16.0)})
    read = good.read(good.written(kept), 16)
    assert read is not None
    assert read.adapter["a"].equal(tensors["a"])
    assert read.optimizer["a.step"].equal(torch.tensor(16.0))
    assert good.read({}, None) is None
