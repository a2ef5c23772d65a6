"""`privatune check`: the server's engine, offline."""

import json
from pathlib import Path

import pytest

from privatune.cli.exits import Exit
from tests.privatune.cli.conftest import Run

GOOD = {"messages": [{"role": "user", "content": "hi"}, {"role": "assistant", "content": "hello"}]}


def written(folder: Path, *lines: object) -> str:
    path = folder / "rows.jsonl"
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines))
    return str(path)


@pytest.fixture(autouse=True)
def _no_server(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PRIVATUNE_API_KEY", raising=False)


def test_a_good_file_is_ready(run: Run, tmp_path: Path) -> None:
    done = run("check", written(tmp_path, GOOD))
    assert done.exit_code == 0, done.output
    assert "1 usable of 1" in done.stdout
    assert "ready to train on" in done.stdout


def test_every_problem_has_its_line_and_fix(run: Run, tmp_path: Path) -> None:
    bad = {"messages": [{"role": "user", "content": "hi"}]}
    done = run("check", written(tmp_path, GOOD, bad))
    assert done.exit_code == Exit.DATA
    assert "line 2" in done.stdout
    assert "no_assistant" in done.stdout
    assert "Add the answer that the model shall give." in done.stdout


def test_json_is_the_whole_report(run: Run, tmp_path: Path) -> None:
    done = run("check", written(tmp_path, GOOD, {"nothing": 1}), "--format", "chat", "--json")
    report = json.loads(done.stdout)
    assert done.exit_code == Exit.DATA
    assert (report["rows"], report["ok"]) == (2, False)


def test_with_a_base_tokens_are_counted(run: Run, tmp_path: Path, tiny_base: Path) -> None:
    path = written(tmp_path, GOOD)
    done = run("check", path, "--model-dir", str(tiny_base), "--json")
    assert done.exit_code == 0, done.output
    assert json.loads(done.stdout)["tokens_trained"] > 0


def test_a_row_longer_than_the_base_takes_is_found_as_the_server_finds_it(
    run: Run, tmp_path: Path, tiny_base: Path
) -> None:
    long = {"messages": [{"role": "user", "content": "hi " * 600}, GOOD["messages"][1]]}
    path = written(tmp_path, GOOD, long)
    done = run("check", path, "--model-dir", str(tiny_base), "--json")
    report = json.loads(done.stdout)
    assert (done.exit_code, report["rows_usable"]) == (Exit.DATA, 1)
    assert "too_long" in report["problem_counts"]
    asked = ("--model-dir", str(tiny_base), "--max-length", "513")
    assert "at most 512 tokens" in run("check", path, *asked).output


def test_a_folder_without_a_base_is_named(run: Run, tmp_path: Path) -> None:
    done = run("check", written(tmp_path, GOOD), "--model-dir", str(tmp_path))
    assert done.exit_code == Exit.DATA
    assert f"{tmp_path} has no config.json" in done.stderr


def test_a_length_without_a_base_is_a_usage_error(run: Run, tmp_path: Path) -> None:
    done = run("check", written(tmp_path, GOOD), "--max-length", "10")
    assert done.exit_code == Exit.USAGE


def test_a_table_of_unknown_columns_is_told_how_to_map_them(run: Run, tmp_path: Path) -> None:
    (tmp_path / "frage.csv").write_text("Frage,Antwort\nwho,me\n")
    done = run("check", str(tmp_path / "frage.csv"))
    assert done.exit_code == Exit.DATA
    assert "format unknown" in done.stdout
    assert "say which column is which field: instruction=question" in done.stdout
    mapped = "instruction=Frage, output=Antwort"
    done = run("check", str(tmp_path / "frage.csv"), "--columns", mapped)
    assert done.exit_code == 0, done.output
