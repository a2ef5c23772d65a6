"""One Chinese word for each term, and Chinese punctuation, in the catalogue and the README."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from babel.messages.pofile import read_po

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "platform/privatune/locale/zh_Hans/LC_MESSAGES/django.po"
ROW = re.compile(r"^\| ([\w -]+) \| ([^|]*[一-鿿][^|]*) \| ([^|]+) \|$", re.MULTILINE)
CODE = re.compile(r"```.*?```|`[^`]*`|\]\([^)]*\)|<[^>]*>", re.DOTALL)
# What a sentence is filled with is of no language yet.
FILLED = re.compile(r"%\(\w+\)[sd]|\{[^{}]*\}")
FAULTS = {
    "half-width punctuation": re.compile(r"[一-鿿][,;:?!]|[一-鿿]\.(\s|$)"),
    "no space before Latin": re.compile(r"[一-鿿][A-Za-z0-9]"),
    "no space after Latin": re.compile(r"[A-Za-z0-9][一-鿿]"),
}


def terms() -> list[tuple[str, str, list[str]]]:
    page = (ROOT / "docs/reference/chinese-terms.md").read_text("utf-8")
    return [(term, chinese, never.split(", ")) for term, chinese, never in ROW.findall(page)]


def texts() -> Iterator[str]:
    with CATALOGUE.open("rb") as file:
        for message in read_po(file, locale="zh_Hans"):
            said = message.string if message.id else ""
            yield from said if isinstance(said, tuple) else (said,)
    readme = (ROOT / "README.zh-CN.md").read_text("utf-8")
    yield from CODE.sub("", readme).splitlines()


@pytest.mark.parametrize(("term", "chinese", "never"), terms())
def test_a_term_has_one_chinese_word(term: str, chinese: str, never: list[str]) -> None:
    whole = "\n".join(texts())
    assert chinese.partition("（")[0] in whole, f"nothing says {term!r}"
    found = {word: line for word in never for line in whole.splitlines() if word in line}
    assert found == {}


@pytest.mark.parametrize("fault", FAULTS)
def test_chinese_sentences_are_set_as_chinese(fault: str) -> None:
    assert [text for text in texts() if FAULTS[fault].search(FILLED.sub("", text))] == []


def test_the_table_is_read_whole() -> None:
    page = (ROOT / "docs/reference/chinese-terms.md").read_text("utf-8")
    assert len(terms()) == page.count("\n| ") - 1 > 20
