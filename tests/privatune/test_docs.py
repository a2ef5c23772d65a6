"""What is generated in the docs is current, and their links lead somewhere."""

import importlib.util
import platform
import re
import shlex
import sys
from pathlib import Path
from typing import Any, get_args

import pytest
from typer.main import get_command

from finetune.families.contract import FamilyName
from privatune.cli.app import app

ROOT = Path(__file__).resolve().parents[2]
PAGES = [ROOT / "README.md", ROOT / "README.zh-CN.md", *sorted((ROOT / "docs").rglob("*.md"))]


@pytest.mark.parametrize("script", ["events_table", "settings_table"])
def test_a_table_is_current(script: str) -> None:
    spec = importlib.util.spec_from_file_location("table", ROOT / "scripts" / f"{script}.py")
    assert spec is not None
    assert spec.loader is not None
    table = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(table)
    assert table.TARGET.read_text("utf-8") == table.page(), f"run scripts/{script}.py"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_relative_links_lead_to_files(page: Path) -> None:
    for target in re.findall(r"\]\(([^)#\s]+)[^)]*\)", page.read_text("utf-8")):
        if not target.startswith(("http:", "https:", "mailto:")):
            assert (page.parent / target).exists(), f"{page.name} links to {target}"


def anchors(page: Path) -> set[str]:
    """Of its headings, as they are made where the page is read: letters, digits, `-` and `_`."""
    text = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.DOTALL | re.MULTILINE)
    made = set[str](re.findall(r'<a (?:id|name)="([^"]+)"', text))
    for heading in re.findall(r"^#{1,6} +(.+?) *#*$", text, re.MULTILINE):
        words = re.sub(r"\[([^\]]*)\]\([^)]*\)", r"\1", heading).lower()
        slug = re.sub(r"[^\w\- ]", "", words).replace(" ", "-")
        number = sum(1 for each in made if re.fullmatch(rf"{re.escape(slug)}(-\d+)?", each))
        made.add(f"{slug}-{number}" if number else slug)
    return made


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_into_a_page_lead_to_one_of_its_headings(page: Path) -> None:
    for target, anchor in re.findall(r"\]\(([^)#\s]*)#([^)\s]+)\)", page.read_text("utf-8")):
        if not target.startswith(("http:", "https:")):
            other = page.parent / target if target else page
            assert anchor in anchors(other), f"{page.name} links to {target}#{anchor}"


def test_each_family_s_every_cell_leads_to_its_test() -> None:
    page = ROOT / "docs" / "reference" / "families.md"
    head, _, *rows = [
        [cell.strip() for cell in line.strip("|").split("|")]
        for line in page.read_text("utf-8").splitlines()
        if line.startswith("|")
    ]
    families = {each.rpartition(" ")[2].strip("`") for each in head[1:]}
    assert families == set(get_args(FamilyName))
    for step, *cells in rows:
        assert len(cells) == len(head) - 1, step
        for cell in cells:
            tests = re.findall(r'\]\((\S+) "(\w+)"\)', cell)
            assert tests or cell.startswith(("none yet", "not there")), (step, cell)
            for target, name in tests:
                written = (page.parent / target).read_text("utf-8")
                assert re.search(rf"^def {name}\(", written, re.MULTILINE), (step, name)


def test_import_platform_is_the_standard_librarys() -> None:
    assert platform.python_implementation() == "CPython"
    assert not (ROOT / "platform" / "__init__.py").exists()
    assert sys.modules["platform"].__file__ is not None
    assert str(ROOT) not in sys.modules["platform"].__file__


def blocks(page: str, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", (ROOT / page).read_text("utf-8"), re.DOTALL)


@pytest.mark.parametrize("language", ["sh", "python"])
def test_both_readmes_have_the_same_code(language: str) -> None:
    english, chinese = (
        [re.sub(r"\s+# .*", "", block) for block in blocks(page, language)]
        for page in ("README.md", "README.zh-CN.md")
    )
    assert english == chinese


COMMAND = re.compile(r"^ *(?:\.venv/bin/)?privatune ((?:.*\\\n)*.*)$", re.MULTILINE)


@pytest.mark.parametrize(
    "page", [page for page in PAGES if page.name != "cli.md"], ids=lambda page: page.name
)
def test_the_commands_that_a_page_shows_exist_with_their_options(page: Path) -> None:
    for block in re.findall(r"```sh\n(.*?)```", page.read_text("utf-8"), re.DOTALL):
        for line in COMMAND.findall(block):
            words = shlex.split(re.split(r"&&|[|>]|\s#", line.replace("\\\n", " "))[0])
            command: Any = get_command(app)
            while hasattr(command, "commands"):
                assert words, f"{page.name}: {line}"
                assert words[0] in command.commands, f"{page.name}: {line}"
                command = command.commands[words.pop(0)]
            known = {name for each in command.params for name in (*each.opts, *each.secondary_opts)}
            asked = {word.partition("=")[0] for word in words if word.startswith("-")}
            assert asked <= known | {"--help"}, f"{page.name}: {line}"
