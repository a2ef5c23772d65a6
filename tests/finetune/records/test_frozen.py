"""Rows frozen as token ids are the rows that were encoded, and nothing else."""

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from faults import OurFault
from finetune.families.causal_lm.layout import Row
from finetune.families.causal_lm.reading import RowReader
from finetune.records.check.run import TOKENS
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.frozen import MAGIC, Block, Frozen, FrozenItems, Writer, edges_of
from finetune.records.kinds import PAIR
from tests.finetune.records.conftest import Check

sequence = st.lists(st.tuples(st.integers(0, 70_000), st.booleans()), min_size=1, max_size=9)
records = st.lists(st.lists(sequence, min_size=1, max_size=3), min_size=1, max_size=8)


def written(path: Path, given: list[list[list[tuple[int, bool]]]], at_once: int) -> Path:
    writer = Writer(path, vocabulary=70_001)
    for first in range(0, len(given), at_once):
        block = Block()
        for record in given[first : first + at_once]:
            block.add(([i for i, _ in each], [label for _, label in each]) for each in record)
        writer.extend(block)
    writer.close("row")
    return path


@given(given=records)
def test_what_was_frozen_is_read_again(
    given: list[list[list[tuple[int, bool]]]], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("frozen")
    frozen = Frozen(written(folder / "one", given, 1))
    assert frozen.records == len(given)
    assert frozen.lengths().tolist() == [sum(map(len, record)) for record in given]
    for number, record in enumerate(given):
        found = [list(zip(i, map(bool, t), strict=True)) for i, t in frozen.sequences(number)]
        assert found == record
    assert frozen.trained == sum(label for r in given for s in r for _, label in s)
    # in how many parts it came cannot be told from it
    assert written(folder / "all", given, 99).read_bytes() == (folder / "one").read_bytes()


def test_a_file_without_its_end_is_refused(tmp_path: Path) -> None:
    path = written(tmp_path / "rows", [[[(1, False), (2, True)]]], 1)
    for kept in (0, 10, path.stat().st_size - 1):
        cut = tmp_path / "cut"
        cut.write_bytes(path.read_bytes()[:kept])
        with pytest.raises(OurFault) as caught:
            Frozen(cut)
        assert caught.value.code == "data_changed"


def test_older_files_do_not_tell_the_day_that_prompts_print(tmp_path: Path) -> None:
    path = written(tmp_path / "rows", [[[(1, False), (2, True)]]], 1)
    assert Frozen(path).printed_day == ""
    content = path.read_bytes()[:-16]
    begin = content.rindex(b"{")
    footer = json.loads(content[begin:])
    del footer["printed_day"]
    older = json.dumps(footer).encode()
    path.write_bytes(content[:begin] + older + len(older).to_bytes(8, "little") + MAGIC)
    assert Frozen(path).printed_day is None


def test_edges_are_those_of_the_trained_spans() -> None:
    assert edges_of([False, True, True, False, True]) == [1, 3, 4, 5]
    assert edges_of([False, False]) == []


def test_the_check_freezes_what_it_counts(check: Check, out_dir: Path, tokenizer_dir: Path) -> None:
    """Rows that are left out or cut are so in the token ids, too."""
    talk = [{"role": "user", "content": "turn on"}, {"role": "assistant", "content": "done"}]
    long = [*talk[:1], {"role": "assistant", "content": "said " * 90}]
    rows = [{"messages": talk}, {"messages": "bad"}, {"messages": long}, {"text": "x"}]
    data = b"".join(json.dumps(row).encode() + b"\n" for row in rows)
    report = check(data, tokenizer_dir=tokenizer_dir, max_length=60, overflow="cut")
    assert report.rows_usable == 2
    assert report.rows_cut == 1
    assert report.tokens_bytes == (out_dir / TOKENS).stat().st_size
    frozen, encoder = Frozen(out_dir / TOKENS), RowEncoder(load_tokenizer(tokenizer_dir))
    assert (frozen.tokens, frozen.trained) == (report.tokens_total, report.tokens_trained)
    lines = (out_dir / "rows.jsonl").read_bytes().splitlines()
    for number, line in enumerate(lines):
        expected = [
            (s.input_ids, bytes(s.trained)) for s in encoder.encode(json.loads(line)).sequences
        ]
        assert frozen.sequences(number) == expected
    assert frozen.longest == 60


def test_without_a_base_nothing_is_frozen(check: Check, out_dir: Path) -> None:
    assert check(b'{"text": "words"}\n').tokens_bytes == 0
    assert not (out_dir / TOKENS).exists()


def test_margins_are_frozen_where_a_pair_has_one(
    check: Check, out_dir: Path, tokenizer_dir: Path, tmp_path: Path
) -> None:
    """A file without any is as it always was."""
    pair = {"prompt": "a", "chosen": " b", "rejected": " c"}
    given = [pair | {"margin": 0.25}, pair | {"rejected": " d"}]
    check("".join(json.dumps(row) + "\n" for row in given).encode(), tokenizer_dir=tokenizer_dir)
    items = FrozenItems(Frozen(out_dir / TOKENS), Row)
    assert [getattr(item, "margin", None) for item in items] == [0.25, None]
    read = RowReader(tokenizer_dir, PAIR, max_length=64)
    encoded = [read(line, "") for line in (out_dir / "rows.jsonl").read_bytes().splitlines()]
    assert [getattr(item, "margin", None) for item in encoded] == [0.25, None]
    read.freeze(encoded, tmp_path / "again")
    assert (tmp_path / "again").read_bytes() == (out_dir / TOKENS).read_bytes()
    read.freeze(encoded[1:], tmp_path / "none")
    assert b"margined" not in (tmp_path / "none").read_bytes()
