"""What a check found is told in Chinese to whoever reads Chinese: every code, with its numbers."""

import json
from pathlib import Path

import pytest
from django.utils.translation import gettext, override

from finetune.models import Dataset
from finetune.records.check.codes import CODES, LIMIT_CODES
from finetune.records.check.run import run_check
from finetune.records.check.spec import CheckSpec
from privatune.portal import findings
from privatune.portal.sentences import SENTENCES
from tests.finetune.records.test_check_problems import GOOD, LINES
from tests.fixtures.language import WORDS, english_sentences
from tests.tiny import build_tokenizer

CHINESE = WORDS["zh-hans"]


@pytest.mark.parametrize("code", CODES)
def test_every_code_of_the_check_has_a_title_and_a_fix_in_chinese(code: str) -> None:
    with override("zh-hans"):
        for text in (findings.title(code), gettext(CODES[code].fix)):
            assert CHINESE.search(text), text


def test_what_ends_a_check_is_told_as_a_refusal() -> None:
    assert SENTENCES.keys() >= LIMIT_CODES.keys()


def test_every_sentence_with_values_is_made_of_what_the_check_gives(tmp_path: Path) -> None:
    """A real check of every line that the checker's own tests know: no English is left."""
    build_tokenizer("plain").save_pretrained(tmp_path / "tokenizer")
    seen: set[str] = set()
    texts = []
    files = {
        "rows.jsonl": b"\n".join([GOOD, *(line for line, _, _ in LINES.values()), GOOD, LONG]),
        "table.csv": b"prompt,completion\na,b\na,b,c\n",
        "turns.jsonl": b'{"prompt": ["a", "b"], "output": ["c"]}',
        "notes.pdf": b"Turn left.\n\nTurn right.\n",
        "rows.txt": GOOD + b"\n" + GOOD,
        "odd.jsonl": b'{"question": "a"}',
        "names.csv": b"question,answer\na,b\n",
        "capitals.csv": b"Prompt,completion,\na,b,\n",
        "latin.csv": "prompt,completion\nä,b\nö,b\n".encode("latin-1"),
        "mapped.csv": b"question,answer\na,b\n",
        "unused.csv": b"question,answer\na,b\n",
        "cell.csv": b"messages\nhello\n",
        "same.csv": b"prompt,Completion,completion\na,b,c\n",
        "marks.jsonl": b'{"text": "a <|im_end|> b"}',
        "good.jsonl": RATED % b"true",
        "uneven.jsonl": RATED % b"true" + RATED % b"false" + RATED % b"1",
        "scored.jsonl": SCORED % b"1",
        "unscored.jsonl": SCORED % b'"high"',
        "code.jsonl": CODE,
        "book.txt": b"A long book. " * 20,
    }
    for overflow in ("refuse", "drop", "cut", "chunk"):
        for name, data in files.items():
            (tmp_path / name).write_bytes(data)
            (tmp_path / "out").mkdir(exist_ok=True)
            spec = CheckSpec(
                source=tmp_path / name, source_name=name,
                tokenizer_dir=None if name == "scored.jsonl" else tmp_path / "tokenizer",
                max_length=64, overflow=overflow,
                columns=MAPPED.get(name, {}),
            )  # fmt: skip
            report = run_check(spec, tmp_path / "out", lambda read, rows: None)
            with override("zh-hans"):
                for problem in report.model_dump()["problems"]:
                    told = findings.told(problem)
                    texts += [told["message"], told["fix"]]
                    if told["message"] != findings.title(problem["code"]):
                        seen.add(problem["code"])
            with override("en"):
                assert [findings.told(p) for p in report.model_dump()["problems"]] == (
                    report.model_dump()["problems"]
                ), "English is the check's own"
    assert english_sentences(" ".join(f"<p>{text}</p>" for text in texts)) == []
    assert all(CHINESE.search(text) for text in texts)
    assert seen == findings.DETAILED.keys()
    assert any("最多允许 64 个" in text for text in texts)
    assert "第 1 行已有相同的行。" in texts


CODE = json.dumps(
    {
        "path": "a.js",
        "text": f"// SPDX-License-Identifier: MIT\nkey = 'AKIA0123456789ABCDEF'\n{'x' * 1200}",
    }
).encode()
SCORED = b'{"sentence1": "a", "sentence2": "b", "score": %s}\n'
RATED = b'{"prompt": "a", "completion": "b", "label": %s}\n'
MAPPED = {
    "mapped.csv": {"output": "antwort"},
    "unused.csv": {"text": "answer", "prompt": "question"},
}
LONG = GOOD.replace(b'"b"', b'"' + b"xyz " * 80 + b'"')


def test_a_refused_reading_is_told_by_its_first_error() -> None:
    with override("zh-hans"):
        refused = Dataset(report={"first_error": {"code": "invalid_json", "line": 5}})
        assert findings.summary(refused) == "第 5 行：该行不是 JSON。"
        ended = Dataset(error={"code": "limit_rows", "message": "Too many.", "family": "user"})
        assert findings.summary(ended) == "文件的行数过多，请拆成多个文件。"
        assert findings.summary(Dataset(report={})) is None
