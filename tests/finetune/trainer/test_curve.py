"""A learning curve: the same settings on parts of the rows, after the run's own training and
without a trace in its result."""

import json
from pathlib import Path
from typing import Any

import pytest

from finetune.records.nesting import Nested
from finetune.records.splitting import digest_of
from finetune.states import ExitCode
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import (
    chat_rows,
    error,
    events,
    finish,
    killed_while,
    make_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)

PARTS = Nested((3, 15, 0, 7, 12, 9, 16, 2, 8, 10), (2, 5, 10))
SETTINGS: dict[str, Any] = {"epochs": 2, "batch_size": 2, "adapter": {"r": 4}, "save_every": 2}


def curve_run(folder: Path, base: Path, *, parts: Nested = PARTS, **spec: Any) -> Path:
    named = {"sha256": PARTS.sha256}
    run = make_run(folder, base, **{**SETTINGS, "curve": named, **spec})
    (run / "data" / "curve.json").write_text(parts.written())
    return run


def figures(run: Path) -> dict[str, Any]:
    """Of the curve, but for what the clock says."""
    told = report(run)["learning_curve"]
    return {
        "parts": [{k: v for k, v in part.items() if k != "seconds"} for part in told["parts"]],
        "told": {name: told[name] for name in ("points", "outlook", "ahead", "needed")},
    }


def test_the_result_is_the_same_without_it_and_the_curve_after_any_interruption(
    tiny_base: Path, tmp_path: Path
) -> None:
    more: dict[str, Any] = {
        "stability": "watched",
        "keep": "best",
        "adapter": {"r": 4, "init_lora_weights": "olora"},
    }
    plain = make_run(tmp_path / "plain", tiny_base, **SETTINGS | more)
    whole = curve_run(tmp_path / "whole", tiny_base, **more)
    cut_off = curve_run(tmp_path / "cut", tiny_base, **more)
    for run in (plain, whole):
        train(run, Stop())
    elsewhere: list[list[str]] = []

    def move() -> None:
        """As to another worker: with what stands in the checkpoints and was told of the steps."""
        (cut_off / "curve.jsonl").unlink(missing_ok=True)
        saved = cut_off / "checkpoints"
        newest = max(saved.iterdir(), key=lambda each: int(each.name)) if saved.exists() else None
        elsewhere.append(sorted(each.name for each in newest.iterdir()) if newest else [])

    assert train_interrupted(cut_off, 15, before=move) >= 3
    assert sum("curve.safetensors" in names for names in elsewhere) >= 2  # in the midst of a part
    assert result_hash(cut_off) == result_hash(whole) == result_hash(plain)
    assert figures(cut_off) == figures(whole)
    assert "learning_curve" not in report(plain)
    for name in ("trained_tokens", "steps", "valid_loss", "validation_change"):
        assert report(whole)[name] == report(plain)[name]
    kept = sorted((whole / "checkpoints").iterdir(), key=lambda each: int(each.name))[-1]
    assert not (kept / "curve.safetensors").exists()  # thrown away
    assert len({event["seq"] for event in events(cut_off)}) == len(events(cut_off))


def test_killed_in_the_middle_of_a_part_the_figures_are_the_same(
    tiny_base: Path, tmp_path: Path
) -> None:
    from finetune.trainer import loop

    whole, killed = (curve_run(tmp_path / name, tiny_base) for name in ("whole", "killed"))
    train(whole, Stop())
    steps, first, _, _ = (20, 2, 6, 10)  # of the run, and of its parts
    killed_while((loop, "step"), steps + first + 4, lambda: train(killed, Stop()))()
    newest = max((killed / "checkpoints").iterdir(), key=lambda each: int(each.name))
    assert (newest / "curve.safetensors").exists()
    assert not (killed / "result").exists()
    train(killed, Stop())
    assert result_hash(killed) == result_hash(whole)
    assert figures(killed) == figures(whole)


def test_each_point_is_what_a_run_on_these_rows_ends_with(tiny_base: Path, tmp_path: Path) -> None:
    run = curve_run(tmp_path / "run", tiny_base)
    train(run, Stop())
    told = report(run)["learning_curve"]
    rows = chat_rows(20)
    for part, numbers in zip(told["parts"], PARTS.parts, strict=True):
        alone = make_run(tmp_path / str(len(numbers)), tiny_base, **SETTINGS)
        write_jsonl(alone / "data" / "train.jsonl", [rows[number] for number in numbers])
        train(alone, Stop())
        found = report(alone)
        assert (part["rows"], part["loss"]) == (len(numbers), found["valid_loss"])
        assert (part["steps"], part["trained_tokens"]) == (
            found["steps"],
            found["trained_tokens"],
        )
    points = [(point["rows"], point["loss"]) for point in told["points"]]
    assert points[-1] == (20, report(run)["valid_loss"])
    assert told["trained_tokens"] == sum(part["trained_tokens"] for part in told["parts"])
    assert [each["rows"] for each in told["ahead"]] == [40, 80]
    left = [e["data"] for e in events(run) if e["type"] == "metrics"]
    assert left[-1]["step"] == left[-1]["total_steps"]
    assert left[-1]["seconds_left"] > 0  # the parts are trained yet
    said = [event["code"] for event in events(run)]
    assert said.count("curve_part_begun") == said.count("curve_part_done") == 3


def test_parts_are_of_the_rows_that_are_left_where_some_are_held_out(
    tiny_base: Path, tmp_path: Path
) -> None:
    held_out = [1, 4, 5, 11, 17]
    split = {"held_out": "data/held_out.json", "held_out_sha256": digest_of(held_out)}
    run = curve_run(tmp_path / "run", tiny_base, valid=False, data=split)
    (run / "data" / "held_out.json").write_text(json.dumps(held_out))
    train(run, Stop())
    assert [point["rows"] for point in report(run)["learning_curve"]["points"]] == [2, 5, 10, 15]
    other = curve_run(tmp_path / "other", tiny_base, valid=False, data=split,
                      parts=Nested((1, 3, 0, 7), (2, 4)))  # fmt: skip
    (other / "data" / "held_out.json").write_text(json.dumps(held_out))
    assert finish(other) == ExitCode.OURS
    assert error(other)["code"] == "data_changed"


def test_a_part_that_diverges_gives_no_point(
    tiny_base: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from finetune.trainer import loop

    evaluate = loop.evaluate

    def evaluated(run: Any) -> dict[str, float]:
        if run.whole is not None and len(run.rows) == 5:
            raise loop.diverged(run, "The validation loss is not a finite number.")
        return evaluate(run)

    monkeypatch.setattr(loop, "evaluate", evaluated)
    run = curve_run(tmp_path / "run", tiny_base)
    train(run, Stop())
    told = report(run)["learning_curve"]
    assert [part["loss"] is None for part in told["parts"]] == [False, True, False]
    assert [point["rows"] for point in told["points"]] == [2, 10, 20]
    assert (told["outlook"], told["ahead"], told["needed"]) == ("too_few", [], [])
    assert [e["data"]["rows"] for e in events(run) if e["code"] == "curve_part_lost"] == [5]


def test_a_curve_without_rows_held_out_is_refused(tiny_base: Path, tmp_path: Path) -> None:
    run = curve_run(tmp_path / "run", tiny_base, valid=False)
    assert finish(run) == ExitCode.DATA
    assert error(run)["code"] == "curve_impossible"


def test_a_spec_that_asks_for_none_is_written_as_before() -> None:
    assert "curve" not in json.loads(RunSpec().model_dump_json())
