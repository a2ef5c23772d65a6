"""A large file is read by several processes, and its report is the same to the letter."""

import hashlib
import json
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.records.check import run
from finetune.records.check.pool import Pool
from finetune.records.check.seen import SeenRows
from tests.finetune.records.conftest import Check


def some_lines(random_: random.Random) -> bytes:
    """Good rows, doubles, and everything that may be wrong, in any order."""
    lines = []
    for number in range(600):
        talk: list[dict[str, Any]] = [
            {"role": "user", "content": f"say {number % 200}"},
            {"role": "assistant", "content": "said " * random_.choice([1, 2, 60])},
        ]
        row: dict[str, Any] = {"messages": talk}
        lines.append(
            random_.choice(
                [
                    *[json.dumps(row).encode()] * 5,
                    json.dumps(row | {"odd": 1}).encode() + b"\r",
                    json.dumps({"messages": [{"role": "teacher", "content": "x"}]}).encode(),
                    b"{bad json",
                    b"",
                    b'{"messages": "x"}',
                    b'["no object"]',
                    json.dumps({"messages": [*talk, {"role": "user", "content": "?"}]}).encode(),
                ]
            )
        )
    return b"\n".join([b'{"unknown": 1}', *lines])


@pytest.mark.parametrize("overflow", ["drop", "cut"])
def test_the_number_of_processes_changes_nothing(
    check: Check,
    out_dir: Path,
    tokenizer_dir: Path,
    monkeypatch: pytest.MonkeyPatch,
    overflow: str,
) -> None:
    monkeypatch.setattr(run, "PART_ROWS", 7)
    monkeypatch.setattr(run, "SHARED_BYTES", 1)
    data = some_lines(random.Random(overflow))
    told = {"tokenizer_dir": tokenizer_dir, "max_length": 90, "overflow": overflow}
    reports = []
    for workers in (1, 3):
        report = check(data, workers=workers, **told)
        files = ("rows.jsonl", "rows.tokens", "errors.jsonl")
        digests = [hashlib.sha256((out_dir / name).read_bytes()).hexdigest() for name in files]
        reports.append((report.model_dump(), digests))
    assert reports[0] == reports[1]
    assert reports[0][0]["duplicates"] > 10
    lines = [problem["line"] or 0 for problem in reports[0][0]["problems"]]
    assert lines == sorted(lines)


def test_what_a_part_raises_is_raised() -> None:
    def work(part: int) -> int:
        if part == 3:
            raise UserFault("limit_rows", "Too many.", fix="Split it.")
        return part * part

    with Pool(work, 2) as pool:
        found = pool.in_order(range(9))
        assert [next(found) for _ in range(3)] == [(0, 0), (1, 1), (2, 4)]
        with pytest.raises(UserFault) as caught:
            list(found)
    assert (caught.value.code, caught.value.fix) == ("limit_rows", "Split it.")


def test_the_whole_ends_as_the_one_that_was_ended() -> None:
    """So that a time or memory that ran out in one of them is told as that."""
    program = (
        "import os, signal\n"
        "from finetune.records.check.pool import Pool\n"
        "def work(part): os.kill(os.getpid(), signal.SIGXCPU)\n"
        "with Pool(work, 2) as pool: list(pool.in_order(range(4)))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program], check=False)
    assert ended.returncode == -signal.SIGXCPU


def test_seen_rows_are_told_by_their_first_line() -> None:
    seen, random_ = SeenRows(), random.Random(0)
    known: dict[int, int] = {}
    for line in range(1, 10_000):  # of which 3,700 are new: its table grows once
        digest = random_.getrandbits(12) << 52 | 5  # many that begin at one place
        assert seen.first(digest, line) == known.setdefault(digest, line)
