"""Rows to learn vectors or a ranking from, by every name that they come with; what is none is told,
and what a base makes of them is what training gets."""

from pathlib import Path
from typing import Any

import pytest

from finetune.families import family
from finetune.records.check.run import run_check
from finetune.records.check.spec import CheckSpec
from finetune.records.encode import load_tokenizer
from finetune.records.kinds import RANKED, RETRIEVAL, SCORED
from finetune.records.preview import Previewer
from tests.embedders import build_embedder
from tests.finetune.records.conftest import Check
from tests.finetune.records.test_check_formats import canonical, lines
from tests.rerankers import build_reranker
from tests.tiny import build_tiny_base

ROW = {"query": "warm?", "positive": "22 degrees", "negatives": ["a shoe", "a hat"]}
PAIR = {"sentence1": "on", "sentence2": "off", "score": 0.25}


@pytest.mark.parametrize(
    "row",
    [
        ROW,
        {"anchor": "warm?", "positive": "22 degrees", "negative": ["a shoe", "a hat"]},
        {"query": "warm?", "pos": ["22 degrees"], "neg": ["a shoe", "a hat"]},
        {
            "anchor": "warm?",
            "positive": "22 degrees",
            "negative_1": "a shoe",
            "negative_2": "a hat",
        },
    ],
)
def test_every_name_of_a_query_and_what_is_found(
    row: dict[str, Any], check: Check, out_dir: Path
) -> None:
    report = check(lines(row))
    assert (report.ok, report.format, report.problems) == (True, "retrieval", [])
    assert canonical(out_dir) == [ROW]


def test_negatives_may_be_none(check: Check, out_dir: Path) -> None:
    assert check(lines({"anchor": "a", "positive": "b"})).problems == []
    assert canonical(out_dir) == [{"query": "a", "positive": "b", "negatives": []}]


def test_a_table_leaves_cells_of_negatives_empty(check: Check, out_dir: Path) -> None:
    table = b"query,positive,negative_1,negative_2\na,b,c,d\ne,f,g,\n"
    assert check(table, "pairs.csv").problems == []
    assert [row["negatives"] for row in canonical(out_dir)] == [["c", "d"], ["g"]]


@pytest.mark.parametrize("name", ["score", "label", "similarity_score"])
def test_scores_by_every_name(name: str, check: Check, out_dir: Path) -> None:
    row = {"sentence1": "on", "sentence2": "off", name: "0.25"}
    report = check(lines(row, PAIR | {"score": 1}))
    assert report.format == "scored"
    assert canonical(out_dir)[0] == PAIR


def test_a_file_of_one_score_has_no_order(check: Check) -> None:
    report = check(lines(PAIR, PAIR | {"sentence1": "up"}))
    assert report.problem_counts == {"one_score": 1}
    assert check(lines(PAIR, PAIR | {"score": 1})).problems == []


@pytest.mark.parametrize(
    ("row", "code", "field"),
    [
        (ROW | {"query": " "}, "empty_content", "query"),
        (ROW | {"query": 3}, "wrong_type", "query"),
        (ROW | {"positive": None}, "missing_field", "positive"),
        (ROW | {"positive": ["a", "b"]}, "several_positives", "positive"),
        (ROW | {"negatives": ["a", ""]}, "empty_content", "negatives[1]"),
        (ROW | {"negatives": ["22 degrees"]}, "negative_is_positive", "negatives"),
        (ROW | {"negatives": {"a": 1}}, "wrong_type", "negatives"),
        (PAIR | {"score": "high"}, "bad_score", "score"),
        (PAIR | {"score": True}, "bad_score", "score"),
        (PAIR | {"score": None}, "missing_field", "score"),
        (PAIR | {"sentence2": ""}, "empty_content", "sentence2"),
    ],
)
def test_what_is_no_such_row_is_named(
    row: dict[str, Any], code: str, field: str, check: Check
) -> None:
    report = check(lines(row))
    assert (code, field) in [(each.code, each.field) for each in report.problems]
    assert not report.ok
    assert all(each.fix for each in report.problems)


def checked(folder: Path, base: Path, *rows: dict[str, Any], **spec: Any) -> Any:
    folder.mkdir()
    source = folder / "source.jsonl"
    source.write_bytes(lines(*rows))
    told = CheckSpec(source=source, source_name="rows.jsonl", tokenizer_dir=base, **spec)
    return run_check(told, folder, lambda *_: None)


@pytest.mark.parametrize(("row", "kind"), [(ROW, RETRIEVAL), (PAIR, SCORED)])
def test_what_is_frozen_is_what_training_reads(
    row: dict[str, Any], kind: Any, tmp_path: Path
) -> None:
    base = build_embedder(tmp_path / "base", prompts={"query": "ask: "})
    report = checked(tmp_path / "out", base, row, {**row, "tags": ["x"]})
    assert report.ok
    embedding = family("embedding")
    frozen = embedding.frozen(tmp_path / "out" / "rows.tokens")
    read = embedding.reader(base, kind, max_length=64)
    again = [read(line, "") for line in (tmp_path / "out" / "rows.jsonl").read_bytes().splitlines()]
    read.freeze(again, tmp_path / "again.tokens")
    written = (tmp_path / "again.tokens").read_bytes()
    assert written == (tmp_path / "out" / "rows.tokens").read_bytes()
    assert len(frozen) == 2
    assert frozen.kind == kind.name
    sequences = [list(each.input_ids) for each in frozen[0].sequences]  # type: ignore[attr-defined]
    assert len(sequences) == (4 if kind is RETRIEVAL else 2)
    assert getattr(frozen[0], "score", None) == (0.25 if kind is SCORED else None)
    assert report.tokens_total == 2 * sum(map(len, sequences)) == report.tokens_trained


@pytest.mark.parametrize(
    ("overflow", "code", "usable"),
    [("refuse", "too_long", 1), ("drop", "too_long_dropped", 1), ("cut", "too_long_cut", 2)],
)
def test_a_long_text_is_refused_left_out_or_cut(
    overflow: str, code: str, usable: int, tmp_path: Path
) -> None:
    base = build_embedder(tmp_path / "base", max_length=24)
    long = ROW | {"positive": "light in the kitchen " * 40}
    report = checked(tmp_path / "out", base, ROW, long, max_length=16, overflow=overflow)
    assert report.problem_counts == {code: 1}
    frozen = family("embedding").frozen(tmp_path / "out" / "rows.tokens")
    assert len(frozen) == usable
    assert frozen.longest <= 16
    if overflow == "cut":
        assert list(frozen[1].sequences[1].input_ids)[-1] == 2  # type: ignore[attr-defined]


def test_a_base_takes_rows_of_its_own_kind_alone(tmp_path: Path) -> None:
    writes, embeds = build_tiny_base(tmp_path / "writes"), build_embedder(tmp_path / "embeds")
    chat = {"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}
    for number, (base, row, code) in enumerate(
        [(writes, ROW, "base_writes"), (writes, PAIR, "base_writes"), (embeds, chat, "base_embeds")]
    ):
        report = checked(tmp_path / str(number), base, row)
        assert report.problem_counts.keys() >= {code}
        assert not report.ok


@pytest.mark.parametrize(("row", "documents"), [(ROW, 3), (PAIR, 1)])
def test_a_base_that_ranks_reads_each_document_beside_its_query(
    row: dict[str, Any], documents: int, tmp_path: Path
) -> None:
    base = build_reranker(tmp_path / "base")
    report = checked(tmp_path / "out", base, row, {**row, "tags": ["x"]})
    assert report.ok
    ranking = family("reranking")
    frozen = ranking.frozen(tmp_path / "out" / "rows.tokens")
    read = ranking.reader(base, RANKED, max_length=64)
    again = [read(line, "") for line in (tmp_path / "out" / "rows.jsonl").read_bytes().splitlines()]
    read.freeze(again, tmp_path / "again.tokens")
    written = (tmp_path / "again.tokens").read_bytes()
    assert written == (tmp_path / "out" / "rows.tokens").read_bytes()
    pairs: Any = frozen[0].sequences
    assert len(pairs) == documents
    assert len({tuple(pair.input_ids[: pair.first]) for pair in pairs}) == 1  # the query
    assert getattr(frozen[0], "score", None) == row.get("score")
    assert report.tokens_total == 2 * sum(map(len, pairs))
    assert report.tokens_trained == 2 * sum(len(pair) - pair.first for pair in pairs)


@pytest.mark.parametrize(
    ("row", "code"),
    [
        (ROW | {"negatives": []}, "no_negatives"),
        (PAIR | {"score": 1.5}, "score_beyond_one"),
        (PAIR | {"score": -0.5}, "score_beyond_one"),
        ({"prompt": "a", "completion": "b"}, "base_embeds"),
    ],
)
def test_what_a_base_that_ranks_cannot_learn_from(
    row: dict[str, Any], code: str, tmp_path: Path
) -> None:
    report = checked(tmp_path / "out", build_reranker(tmp_path / "base"), row)
    assert report.problem_counts.keys() >= {code}
    assert not report.ok


def test_a_preview_shows_each_pair(tmp_path: Path) -> None:
    base = build_reranker(tmp_path / "base")
    spec = CheckSpec(source=base, source_name="", tokenizer_dir=base)
    shown = Previewer.of(spec, load_tokenizer(base)).preview(ROW, "retrieval")  # type: ignore[arg-type]
    assert shown.parts == ["positive", "negative", "negative"]
    texts = ["".join(piece.text for piece in each) for each in shown.sequences]
    assert texts[0] == "<|im_start|>warm?<|im_end|>22 degrees<|im_end|>"
    trained = "".join(piece.text for piece in shown.sequences[0] if piece.trained)
    assert trained == "22 degrees<|im_end|>"


def test_a_preview_shows_each_text(tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base", prompts={"query": "ask: "})
    spec = CheckSpec(source=base, source_name="", tokenizer_dir=base)
    previewer = Previewer.of(spec, load_tokenizer(base))
    shown = previewer.preview(ROW, "retrieval")  # type: ignore[arg-type]
    assert shown.parts == ["query", "positive", "negative", "negative"]
    texts = ["".join(piece.text for piece in each) for each in shown.sequences]
    assert texts[0] == "<|im_start|>ask: warm?<|im_end|>"
    assert texts[1] == "<|im_start|>22 degrees<|im_end|>"
    assert shown.trained == shown.tokens
