"""Rows of several answers that cannot share a sequence, trained as groups."""

import json
from pathlib import Path

from finetune.families.causal_lm.reading import RowReader
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.kinds import ROW, Group
from finetune.trainer.spec import RunSpec
from tests.finetune.trainer.runs import finish, make_run, report, result_hash, write_jsonl
from tests.tiny import build_tiny_base


def two_turns(number: int) -> dict[str, object]:
    thought = {"reasoning_content": "the kitchen"} if number % 2 else {}
    return {
        "messages": [
            {"role": "user", "content": f"turn on light {number}"},
            {"role": "assistant", "content": f"on {number}", **thought},
            {"role": "user", "content": "and off"},
            {"role": "assistant", "content": f"off {number}"},
        ]
    }


def test_each_turn_is_a_sequence_of_one_group_and_counts_once(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base", template="thinking")
    rows = [two_turns(number) for number in range(6)]
    read = RowReader(base, ROW, max_length=256)
    items = [read(json.dumps(row).encode(), "here") for row in rows]
    assert all(isinstance(item, Group) and len(item.sequences) == 2 for item in items)
    encoder = RowEncoder(load_tokenizer(base))
    labels = sum(encoder.encode(row).trained_count for row in rows)  # type: ignore[arg-type]
    assert sum(item.trained for item in items) == labels

    hashes = []
    for name, tokens in (("whole", 4096), ("small", 1)):
        run = make_run(tmp_path / name, base, valid=False, epochs=1, micro_batch_tokens=tokens)
        write_jsonl(run / "data" / "train.jsonl", rows)
        assert finish(run) == 0
        assert report(run)["trained_tokens"] == labels
        hashes.append(report(run)["train_loss"])
    assert abs(hashes[0] - hashes[1]) < 1e-5


def test_thinking_changes_what_is_trained_and_the_default_is_not_written(tmp_path: Path) -> None:
    base = build_tiny_base(tmp_path / "base", template="thinking")
    done = {}
    for thinking in ("each", "on", "off"):
        run = make_run(tmp_path / thinking, base, valid=False, epochs=1, thinking=thinking)
        assert finish(run) == 0
        done[thinking] = result_hash(run)
    assert done["each"] == done["off"] != done["on"]
    assert "thinking" not in json.loads((tmp_path / "each" / "spec.json").read_bytes())
    assert RunSpec.read(tmp_path / "on").thinking == "on"
