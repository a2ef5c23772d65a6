"""What a file, a tag or a model says cannot take over the terminal of who looks at it."""

import json
import re
from pathlib import Path

import pytest
from rich.text import Text
from typer.testing import CliRunner

from privatune.cli.app import app
from privatune.cli.output import notes, print_facts, print_json, print_table, results
from privatune.cli.visible import VisibleConsole, visible

HOSTILE = "\x1b]0;pwned\x07\x1b[31mred\x9b2J\u202eleft\r\x7f"
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]")


def test_control_characters_are_shown_one_by_one_and_all_else_stays() -> None:
    shown = visible(HOSTILE)
    assert len(shown) == len(HOSTILE)
    assert not OBEYED.search(shown)
    assert visible("a\tb\n中文 é 🙂") == "a\tb\n中文 é 🙂"


@pytest.mark.parametrize("terminal", [True, False])
def test_nothing_that_is_printed_is_obeyed(terminal: bool) -> None:
    console = VisibleConsole(force_terminal=terminal, color_system=None, width=200)
    with console.capture() as shown:
        console.print(HOSTILE, markup=False)
        console.print(Text(HOSTILE))
    assert not OBEYED.search(shown.get())


def test_tables_facts_and_json_hold_none(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["A"], [[HOSTILE]])
    print_facts({"name": HOSTILE})
    results().print(HOSTILE, markup=False)
    notes().print(HOSTILE, markup=False)
    said = capsys.readouterr()
    assert not OBEYED.search(said.out + said.err)
    print_json({"name": HOSTILE})
    told = capsys.readouterr().out
    assert not OBEYED.search(told)
    assert json.loads(told) == {"name": HOSTILE}, "a program reads the very characters"


def test_a_file_that_is_checked_cannot(tmp_path: Path) -> None:
    row = {"messages": [{"role": HOSTILE, "content": HOSTILE}], HOSTILE: HOSTILE}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row) + "\n")
    done = CliRunner().invoke(app, ["check", str(file)])
    assert done.exit_code
    assert "red" in done.output, "the role is named"
    assert not OBEYED.search(done.output)
