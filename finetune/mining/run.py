"""The two halves of mining in a child process, between which the texts are embedded: they are
listed, and from their vectors the new rows are written."""

import hashlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import orjson

from faults import UserFault
from finetune.mining.negatives import Mined, Row, line_of, mine, texts_of
from finetune.mining.spec import ListReport, MiningReport, MiningSpec

REPORT, TEXTS, MINED = "report.json", "texts.jsonl", "mined.jsonl"

Tell = Callable[[], None]


def run(spec: MiningSpec, out_dir: Path, tell: Tell) -> None:
    """Leaves report.json in out_dir, with texts.jsonl or mined.jsonl. `tell` is called again and
    again. Raises UserFault `too_many_texts`, `file_too_large`."""
    rows = list(_rows(spec.rows))
    corpus = [row["text"] for row in _rows(spec.corpus)] if spec.corpus else []
    report: Any
    if spec.vectors is None:
        report = _list_texts(spec, rows, corpus, out_dir)
    else:
        report = _write(spec, _mined(spec, rows, corpus, tell), out_dir)
    (out_dir / REPORT).write_text(report.model_dump_json(indent=2), encoding="utf-8")


def _rows(file: Path) -> Iterator[Row]:
    with file.open("rb") as lines:
        yield from map(orjson.loads, lines)


def _list_texts(
    spec: MiningSpec, rows: Sequence[Row], corpus: Sequence[str], out_dir: Path
) -> ListReport:
    """Each with what it is and where it first stands: its row, from 1, of its file."""
    texts = texts_of(rows, corpus)
    if len(texts) > spec.most_texts:
        raise UserFault(
            "too_many_texts",
            f"{len(texts):,} different queries and documents are more than the "
            f"{spec.most_texts:,} that can be compared with one another at once.",
            fix="Split the file into several files, or give a smaller corpus.",
            param="file",
        )
    queries, documents = _places(rows, "query"), _places(rows, "positive")
    further: dict[str, int] = {}
    for number, text in enumerate(corpus, 1):
        further.setdefault(text, number)
    with (out_dir / TEXTS).open("wb") as listed:
        for text in texts.documents:
            place = ("corpus", further[text]) if text in further else ("file", documents[text])
            listed.write(orjson.dumps(["document", *place, text]) + b"\n")
        for text in texts.positives:
            listed.write(orjson.dumps(["query", "file", queries[text], text]) + b"\n")
    return ListReport(texts=len(texts))


def _places(rows: Sequence[Row], field: str) -> dict[str, int]:
    found: dict[str, int] = {}
    for number, row in enumerate(rows, 1):
        found.setdefault(row[field], number)
    return found


def _mined(spec: MiningSpec, rows: Sequence[Row], corpus: Sequence[str], tell: Tell) -> Mined:
    import numpy as np

    assert spec.vectors is not None
    vectors: Any = np.memmap(spec.vectors.file, dtype="<f4", mode="r")
    vectors = vectors.reshape(-1, spec.vectors.dimensions)  # [texts, dimensions]
    asked = 0

    def embed(texts: Sequence[str], _side: str) -> Any:
        """`mine` asks in the order of the list."""
        nonlocal asked
        tell()
        asked += len(texts)
        return vectors[asked - len(texts) : asked]

    return mine(rows, corpus, embed, spec.options)


def _write(spec: MiningSpec, made: Mined, out_dir: Path) -> MiningReport:
    digest, size = hashlib.sha256(), 0
    with (out_dir / MINED).open("wb") as written:
        for row in made.rows:
            line = line_of(row)
            digest.update(line)
            size += written.write(line)
            if size > spec.most_bytes:
                raise UserFault(
                    "file_too_large",
                    f"With the negatives the file is larger than the {spec.most_bytes} bytes "
                    "allowed here.",
                    fix="Ask for fewer negatives (`num_negatives`), or split the file.",
                    param="num_negatives",
                )
    return MiningReport(
        rows=len(made.rows),
        queries=made.queries,
        documents=made.documents,
        negatives=made.negatives,
        rows_by_negatives=dict(sorted(made.rows_by_found.items())),
        skipped=dict(sorted(made.skipped.items())),
        rows_sha256=digest.hexdigest(),
        rows_bytes=size,
    )
