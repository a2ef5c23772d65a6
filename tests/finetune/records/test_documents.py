"""Plain text: what a document is, and how a long one becomes chunks that train each token once."""

import json
from itertools import pairwise
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from finetune.records.check import containers
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.frozen import Frozen
from tests.finetune.records.conftest import Check
from tests.finetune.records.test_check_formats import canonical

BOOK = " ".join(f"Sentence number {n} of a long book." for n in range(60))


@pytest.fixture(scope="module")
def encoder(tiny_base: Path) -> RowEncoder:
    return RowEncoder(load_tokenizer(tiny_base))


def test_a_file_is_one_document_whatever_its_blank_lines(check: Check, out_dir: Path) -> None:
    report = check(b"\n\nFirst\nparagraph\n\n \n\n  Second\n\n", "book.txt")
    assert (report.ok, report.container, report.format, report.rows) == (True, "text", "text", 1)
    assert canonical(out_dir) == [{"text": "First\nparagraph\n\n \n\n  Second"}]


@pytest.mark.parametrize("name", ["book.txt", "book.md", "notes"])
def test_a_form_feed_begins_the_next_one(check: Check, out_dir: Path, name: str) -> None:
    report = check(b"One\n\n1\n\f\nTwo\fThree\n\f\n\f", name)
    assert canonical(out_dir) == [{"text": "One\n\n1"}, {"text": "Two"}, {"text": "Three"}]
    assert (report.rows, report.rows_usable, report.chunks) == (3, 3, None)


def test_what_is_wrong_with_a_document_is_said_at_its_line(check: Check) -> None:
    report = check(b"good\n\f\nbad \xff\n\fbetter", "book.txt")
    assert [(p.code, p.line) for p in report.problems] == [("invalid_utf8", 3)]
    assert (report.rows, report.rows_usable) == (3, 2)


def test_one_that_is_too_large_says_how_to_part_it(
    check: Check, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(containers, "LARGEST_DOCUMENT", 100)
    report = check(b"short\n\f\n" + b"a line\n" * 50 + b"\flast", "book.txt")
    assert [(p.code, p.line) for p in report.problems] == [("document_too_large", 3)]
    assert "form feed" in report.problems[0].fix
    assert report.rows_usable == 2


def test_a_long_one_is_read_in_chunks_and_counted(
    check: Check, out_dir: Path, tiny_base: Path, encoder: RowEncoder
) -> None:
    data = f"{BOOK}\n\fshort\n".encode()
    options = {"tokenizer_dir": tiny_base, "max_length": 64}
    report = check(data, "book.txt", overflow="chunk", **options)
    whole = encoder.encode({"text": BOOK}).input_ids
    chunks = -(-(len(whole) - 1) // 63)
    assert report.ok
    assert (report.rows, report.rows_usable) == (2, 2)
    assert report.chunks == report.records == chunks + 1
    [found] = report.problems
    assert (found.code, found.line) == ("chunked", 1)
    assert found.values == {"tokens": len(whole), "chunks": chunks, "limit": 64}
    written = canonical(out_dir)
    assert len(written) == chunks + 1
    frozen = Frozen(out_dir / "rows.tokens")
    assert frozen.records == chunks + 1
    assert [frozen.sequences(n)[0][0] for n in range(chunks)] == [r["ids"] for r in written[:-1]]
    short = len(encoder.encode({"text": "short"}).input_ids)
    assert report.tokens_trained == len(whole) - 1 + short - 1
    assert report.longest_row == 64
    assert check(data, "book.txt", **options).problem_counts == {"too_long": 1}


def test_chunks_are_for_documents_alone(check: Check, tiny_base: Path) -> None:
    turns = [{"role": "user", "content": "a" * 200}, {"role": "assistant", "content": "b"}]
    data = json.dumps({"messages": turns}).encode()
    report = check(data, tokenizer_dir=tiny_base, max_length=32, overflow="chunk")
    assert report.problem_counts == {"too_long": 1}
    assert report.rows_usable == 0


@given(st.text(min_size=1, max_size=300), st.integers(min_value=8, max_value=64))
@settings(max_examples=60)
def test_every_token_but_the_first_is_trained_exactly_once_behind_what_precedes_it(
    encoder: RowEncoder, text: str, size: int
) -> None:
    ids = encoder.encode({"text": text}).input_ids
    chunks = [encoder.encode(row) for row in encoder.chunks({"text": text}, size)]
    assert all(len(chunk.input_ids) <= size for chunk in chunks)
    learnt = [
        token
        for chunk in chunks
        for token, label in zip(chunk.input_ids, chunk.trained, strict=True)
        if label
    ]
    assert learnt == ids[1:]
    for before, after in pairwise(chunks):
        assert after.input_ids[0] == before.input_ids[-1]
    ends = [chunk.input_ids[-1] == encoder.tokenizer.eos_token_id for chunk in chunks]
    assert ends[-1]
    assert not any(ends[:-1])
