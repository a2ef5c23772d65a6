"""Rows of chats for benchmarks, of text that people wrote: what repeats in them repeats as it does
in real files.

English comes from this machine's man pages and Python's own sources with their docstrings, Chinese
from the translations of this project and of man pages. A turn is a run of lines that stand
together somewhere; the same run is seldom drawn twice.
"""

import gzip
import json
import random
import re
import sysconfig
from collections.abc import Iterator
from itertools import islice
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
MAN = Path("/usr/share/man")
PAGES = 6000
MARKUP = re.compile(r'^[.\'].*$|\\f[A-Z]|\\&|\\\(..|^"$', re.MULTILINE)
CONTROL = re.compile(r"</?[\w|:-]+>")  # what tokenizers may call their own
QUOTED = re.compile(r'^(?:msgstr )?"(.*)"$', re.MULTILINE)
HAN = re.compile("[\u4e00-\u9fff]")
CHINESE = 8  # one row in so many is Chinese


def write_rows(path: Path, size: int, turns: int) -> int:
    """Conversations of `turns` questions and answers, about `size` bytes; returns how many."""
    english, chinese = list(_english()), list(_chinese())
    drawn, rows = random.Random(0), 0
    with path.open("w", encoding="utf-8") as file:
        while file.tell() < size:
            lines = chinese if rows % CHINESE == CHINESE - 1 else english
            talk = [{"role": "system", "content": f"You answer questions of customer {rows}."}]
            for _ in range(turns):
                talk.append({"role": "user", "content": _said(drawn, lines, 200)})
                talk.append({"role": "assistant", "content": _said(drawn, lines, 600)})
            file.write(json.dumps({"messages": talk}, ensure_ascii=False) + "\n")
            rows += 1
    return rows


def _said(drawn: random.Random, lines: list[str], most: int) -> str:
    """Whole lines that stand together, up to a length drawn from 20 to `most` characters."""
    wanted, said, place = drawn.randint(20, most), "", drawn.randrange(len(lines))
    while len(said) < wanted:
        said += lines[place % len(lines)] + "\n"
        place += 1
    return said.strip()


def _english() -> Iterator[str]:
    sources = sorted(Path(sysconfig.get_paths()["stdlib"]).glob("*.py"))
    for page in islice(sorted(MAN.glob("man*/*.gz")), PAGES):
        yield from _page(page)
    for path in [*sources, *sorted(ROOT.glob("docs/**/*.md"))]:
        yield from _lines(path.read_text(encoding="utf-8", errors="replace"))


def _chinese() -> Iterator[str]:
    for path in sorted(ROOT.glob("platform/*/locale/zh_Hans/**/*.po")):
        found = "\n".join(QUOTED.findall(path.read_text(encoding="utf-8")))
        yield from filter(HAN.search, _lines(found))
    for page in islice(sorted(MAN.glob("zh_CN/man*/*.gz")), PAGES):
        yield from filter(HAN.search, _page(page))


def _page(path: Path) -> Iterator[str]:
    with gzip.open(path, "rt", encoding="utf-8", errors="replace") as page:
        yield from _lines(MARKUP.sub("", page.read()))


def _lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.strip() and not CONTROL.search(line):
            yield line
