"""The reference page says what the commands are."""

import subprocess
import sys
from pathlib import Path

from privatune.cli.docs import page
from privatune.cli.exits import MEANING
from tests.privatune.cli.conftest import Run

PAGE = Path(__file__).resolve().parents[3] / "docs" / "reference" / "cli.md"


def test_the_reference_page_is_current() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), (
        "run: python -m privatune.cli.docs > docs/reference/cli.md"
    )


def test_the_page_names_every_exit_code() -> None:
    for code, meaning in MEANING.items():
        assert f"* `{int(code)}`: {meaning}" in page()


def test_every_command_takes_json(run: Run) -> None:
    commands = [part.split("`")[1] for part in page().split("\n#### ")[1:]]
    assert len(commands) > 15
    for command in commands:
        assert "--json" in run(*command.split()[1:], "--help").output, command


def test_a_command_starts_without_what_reads_rows_and_counts() -> None:
    code = (
        "import sys; import privatune.cli.app;"
        "print(*{'numpy', 'jinja2', 'orjson', 'django'} & set(sys.modules))"
    )
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    assert (loaded.returncode, loaded.stdout) == (0, "\n"), loaded.stderr
