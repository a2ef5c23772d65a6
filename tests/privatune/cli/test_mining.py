"""`privatune files mine`: negatives from the server's vectors, into a new file."""

import base64
import json
from array import array
from pathlib import Path

from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run, Scripted

EMBEDDINGS = "POST /v1/embeddings"
ROWS = [
    {"query": "a?", "positive": "a."},
    {"query": "b?", "positive": "b."},
    {"query": "c?", "positive": "c."},
]
# Of four documents (the further one first) and three queries; "near" is too near to a's answer
VECTORS = {
    "near": (1, 0.05, 0), "a.": (1, 0, 0), "b.": (0.8, 0.6, 0), "c.": (0, 0, 1),
    "a?": (1, 0, 0), "b?": (0, 1, 0), "c?": (0, 0, 1),
}  # fmt: skip


def told(*texts: str) -> tuple[int, dict[str, object]]:
    written = [base64.b64encode(array("f", VECTORS[each]).tobytes()).decode() for each in texts]
    return 200, {"data": [{"embedding": each} for each in written]}


def test_negatives_come_into_a_new_file(run: Run, server: Scripted, tmp_path: Path) -> None:
    server.on(EMBEDDINGS, told("near", "a.", "b.", "c."), told("a?", "b?", "c?"))
    pairs, corpus, output = (tmp_path / name for name in ("pairs.jsonl", "more.jsonl", "new.jsonl"))
    pairs.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    corpus.write_text('{"text": "near"}\n')
    before = pairs.read_bytes()
    asked = ("files", "mine", str(pairs), "--model", "m", "--output", str(output))
    done = run(*asked, "--corpus", str(corpus), "--num-negatives", "1", "--json")
    assert done.exit_code == 0, done.stderr
    first, second = server.bodies(EMBEDDINGS)
    assert (first["model"], first["input_type"], first["input"]) == (
        "m", "document", ["near", "a.", "b.", "c."],
    )  # fmt: skip
    assert (second["input_type"], second["input"]) == ("query", ["a?", "b?", "c?"])
    rows = [json.loads(line) for line in output.read_text().splitlines()]
    assert [row["negatives"] for row in rows] == [["b."], ["near"], ["near"]]
    assert [{name: row[name] for name in ("query", "positive")} for row in rows] == ROWS
    assert pairs.read_bytes() == before
    report = json.loads(done.stdout)
    assert report["skipped"] == {"relative_margin": 1}
    assert (report["negatives"], report["documents"], report["rows_without"]) == (3, 4, 0)
    again = run(*asked)
    assert again.exit_code == Exit.USAGE, "a file that is there is not written over"


def test_a_refusal_of_the_server_leaves_no_file(run: Run, server: Scripted, tmp_path: Path) -> None:
    said = {"error": {"message": "This model writes text.", "code": "model_writes"}}
    server.on(EMBEDDINGS, (400, said))
    pairs, output = tmp_path / "pairs.jsonl", tmp_path / "new.jsonl"
    pairs.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    done = run("files", "mine", str(pairs), "--model", "m", "--output", str(output))
    assert done.exit_code != 0
    assert "writes text" in done.stderr
    assert not output.exists()
    odd = run("files", "mine", str(pairs), "--model", "m", "--output", str(output),
              "--range-max", "1")  # fmt: skip
    assert odd.exit_code == Exit.USAGE


MININGS = "POST /api/v1/minings"
MINED = {
    "id": "mining-1", "file": "file-1", "result": "file-2", "model": "m", "state": "succeeded",
    "error": None, "tokens": 77,
    "report": {
        "rows": 3, "queries": 3, "documents": 4, "negatives": 5,
        "rows_by_negatives": {"1": 1, "2": 2}, "skipped": {"relative_margin": 1},
    },
}  # fmt: skip


def test_of_a_file_s_id_the_server_mines(run: Run, server: Scripted, tmp_path: Path) -> None:
    server.on(MININGS, (200, MINED | {"state": "waiting", "result": None, "report": None}))
    server.on("GET /api/v1/minings/mining-1", (200, MINED))
    asked = ("files", "mine", "file-1", "--model", "m")
    done = run(*asked, "--corpus", "file-3", "--relative-margin", "0", "--range-max", "9")
    assert done.exit_code == 0, done.stderr
    assert server.bodies(MININGS) == [
        {"file": "file-1", "model": "m", "corpus": "file-3", "num_negatives": 3, "range_min": 0,
         "range_max": 9, "relative_margin": None, "absolute_margin": None, "max_score": None,
         "min_score": None}
    ]  # fmt: skip
    assert "1: 1, 2: 2" in done.stdout
    assert "1 by relative_margin" in done.stdout
    assert not server.bodies(EMBEDDINGS)
    failed = MINED | {"state": "failed", "error": {"code": "model_writes", "message": "It writes."}}
    server.on(MININGS, (200, failed))
    assert run(*asked).exit_code == Exit.FAILED
    for more in (["--output", str(tmp_path / "new")], ["--upload"]):
        assert run(*asked, *more).exit_code == Exit.USAGE
    pairs = tmp_path / "pairs.jsonl"
    pairs.write_text(json.dumps(ROWS[0]) + "\n")
    for wrong in ([str(pairs)], ["no/such.jsonl"]):
        assert run("files", "mine", *wrong, "--model", "m").exit_code == Exit.USAGE


def test_what_the_server_mines_can_be_stopped(run: Run, server: Scripted) -> None:
    stopped = MINED | {"state": "cancelled", "result": None, "report": None}
    server.on("POST /api/v1/minings/mining-1/cancel", (200, stopped))
    done = run("files", "cancel-mining", "mining-1", "--json")
    assert json.loads(done.stdout)["state"] == "cancelled"
