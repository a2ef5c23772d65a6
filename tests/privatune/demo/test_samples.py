"""The rows that a fresh installation is tried with: enough for a verdict, and none in two files."""

import json
from pathlib import Path

from finetune.grading.advice import FEWEST_ROWS
from privatune.demo.samples import QUESTIONS, ensure_rows


def read(path: str) -> list[str]:
    rows = [json.loads(line) for line in Path(path).read_text("utf-8").splitlines()]
    return [row["messages"][1]["content"] for row in rows]


def test_the_questions_are_enough_for_a_verdict_and_stand_in_no_other_file(tmp_path: Path) -> None:
    paths = ensure_rows(tmp_path, lambda line: None)
    files = {name: read(path) for name, path in paths.items()}
    assert len(files["questions"]) == QUESTIONS >= FEWEST_ROWS
    together = [text for rows in files.values() for text in rows]
    assert len(set(together)) == len(together) == 180


def test_a_folder_of_an_earlier_version_gets_the_questions_and_keeps_its_files(
    tmp_path: Path,
) -> None:
    first = ensure_rows(tmp_path, lambda line: None)
    kept = Path(first["validation"]).stat().st_mtime_ns
    asked = Path(first["questions"]).read_text("utf-8")
    Path(first["questions"]).unlink()
    again = ensure_rows(tmp_path, lambda line: None)
    assert Path(again["questions"]).read_text("utf-8") == asked
    assert Path(again["validation"]).stat().st_mtime_ns == kept
