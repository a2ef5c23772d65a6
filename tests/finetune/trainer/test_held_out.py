"""Rows of the training file that are held out: the run is that of two files, and names the rows of
the one."""

import csv
import io
import json
from pathlib import Path
from typing import Any

import pytest

from finetune.records.splitting import digest_of
from finetune.states import ExitCode
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from tests.finetune.trainer.runs import (
    chat_rows,
    error,
    finish,
    make_run,
    report,
    result_hash,
    train_interrupted,
    write_jsonl,
)
from tests.finetune.trainer.test_frozen_rows import freeze

HELD_OUT = [1, 4, 5, 11, 17]
SETTINGS: dict[str, Any] = {"save_every": 3, "adapter": {"r": 4}}


def split_run(folder: Path, base: Path, **data: Any) -> Path:
    named = {"held_out": "data/held_out.json", "held_out_sha256": digest_of(HELD_OUT)} | data
    run = make_run(folder, base, valid=False, data=named, **SETTINGS)
    (run / "data" / "held_out.json").write_text(json.dumps(HELD_OUT))
    return run


def two_files(folder: Path, base: Path) -> Path:
    run = make_run(folder, base, **SETTINGS)
    rows = chat_rows(20)
    write_jsonl(run / "data/valid.jsonl", [rows[number] for number in HELD_OUT])
    kept = [row for number, row in enumerate(rows) if number not in HELD_OUT]
    write_jsonl(run / "data/train.jsonl", kept)
    return run


@pytest.mark.parametrize("frozen", [False, True])
def test_the_result_is_that_of_two_files_after_any_interruption(
    tiny_base: Path, tmp_path: Path, frozen: bool
) -> None:
    whole, parted = two_files(tmp_path / "two", tiny_base), split_run(tmp_path / "one", tiny_base)
    if frozen:
        freeze(parted)
    train(whole, Stop())
    assert train_interrupted(parted, 3, most=60) >= 4
    assert result_hash(parted) == result_hash(whole)
    for name in ("validation_change", "valid_loss", "base_valid_loss", "trained_tokens"):
        assert report(parted)[name] == report(whole)[name] is not None
    table = (parted / "result" / "validation_rows.csv").read_text()
    named = [int(row["row"]) for row in csv.DictReader(io.StringIO(table))]
    assert named == [number + 1 for number in HELD_OUT]


@pytest.mark.parametrize("spoiled", [[1, 4, 5, 11], list(range(20)), []])
def test_another_split_than_the_specs_is_refused(
    tiny_base: Path, tmp_path: Path, spoiled: list[int]
) -> None:
    run = split_run(tmp_path / "run", tiny_base, held_out_sha256=digest_of(HELD_OUT))
    (run / "data" / "held_out.json").write_text(json.dumps(spoiled))
    assert finish(run) == ExitCode.OURS
    assert error(run)["code"] == "data_changed"
