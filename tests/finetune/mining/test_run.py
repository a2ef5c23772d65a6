"""What the child process lists and writes, and what is beyond its bounds."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from faults import UserFault
from finetune.mining.negatives import MiningOptions
from finetune.mining.run import MINED, REPORT, TEXTS, run
from finetune.mining.spec import MiningReport, MiningSpec, Vectors

ROWS = [
    {"query": "a?", "positive": "a."},
    {"query": "b?", "positive": "b.", "negatives": ["near"]},
    {"query": "a?", "positive": "near"},
]
LISTED = [
    ["document", "corpus", 1, "far"],
    ["document", "file", 1, "a."],
    ["document", "file", 2, "b."],
    ["document", "file", 3, "near"],
    ["query", "file", 1, "a?"],
    ["query", "file", 2, "b?"],
]
VECTORS = [[-1, 0, 0], [1, 0, 0], [0, 1, 0], [0.9, 0.1, 0], [1, 0, 0], [0, 1, 0]]


@pytest.fixture
def spec(tmp_path: Path) -> dict[str, Any]:
    for name, rows in (("rows", ROWS), ("corpus", [{"text": "far"}, {"text": "far"}])):
        (tmp_path / name).write_text("".join(json.dumps(row) + "\n" for row in rows))
    np.asarray(VECTORS, dtype="<f4").tofile(tmp_path / "vectors")
    return {
        "rows": tmp_path / "rows", "corpus": tmp_path / "corpus", "most_texts": 6,
        "most_bytes": 1000, "options": MiningOptions(num_negatives=1),
    }  # fmt: skip


def read(file: Path) -> list[Any]:
    return [json.loads(line) for line in file.read_text().splitlines()]


def test_texts_are_listed_once_with_where_they_stand_and_rows_get_negatives(
    spec: dict[str, Any], tmp_path: Path
) -> None:
    run(MiningSpec(**spec), tmp_path, lambda: None)
    assert read(tmp_path / TEXTS) == LISTED
    vectors = Vectors(file=tmp_path / "vectors", dimensions=3)
    told: list[None] = []
    run(MiningSpec(**spec, vectors=vectors), tmp_path, lambda: told.append(None))
    assert read(tmp_path / MINED) == [
        ROWS[0] | {"negatives": ["b."]},
        ROWS[1] | {"negatives": ["near"]},
        ROWS[2] | {"negatives": ["b."]},
    ]
    report = MiningReport.model_validate_json((tmp_path / REPORT).read_bytes())
    assert (report.queries, report.documents, report.negatives) == (2, 4, 2)
    assert report.rows_by_negatives == {0: 1, 1: 2}
    assert report.rows_bytes == (tmp_path / MINED).stat().st_size
    assert told


@pytest.mark.parametrize(
    ("more", "code"),
    [({"most_texts": 5}, "too_many_texts"), ({"most_bytes": 60}, "file_too_large")],
)
def test_what_is_too_much_is_refused(
    more: dict[str, int], code: str, spec: dict[str, Any], tmp_path: Path
) -> None:
    vectors = Vectors(file=tmp_path / "vectors", dimensions=3) if code == "file_too_large" else None
    with pytest.raises(UserFault) as refused:
        run(MiningSpec(**(spec | more), vectors=vectors), tmp_path, lambda: None)
    assert refused.value.code == code
    assert refused.value.fix
