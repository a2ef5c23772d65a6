"""The check's own process: its limits, its reports and its end."""

import gzip
import hashlib
import json
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import zstandard

from faults import OurFault, UserFault
from finetune.records.check import child as child_module
from finetune.records.check.child import check_in_child
from finetune.records.check.codes import LIMIT_CODES
from finetune.records.check.spec import CheckReport, CheckSpec
from finetune.sandbox import groups
from finetune.sandbox.levels import require
from finetune.sandbox.start import Child, Executed, start_loaded
from tests.finetune.records.conftest import Check

ROW = b'{"messages":[{"role":"user","content":"a"},{"role":"assistant","content":"b"}]}\n'
MB = 2**20


def run(tmp_path: Path, data: bytes, **told: Any) -> CheckReport:
    source = tmp_path / "source"
    source.write_bytes(data)
    limits = {key: told.pop(key) for key in ("memory_mb", "seconds", "progress") if key in told}
    spec = CheckSpec.model_validate({"source": source, "source_name": "data.jsonl", **told})
    return check_in_child(spec, tmp_path / "out", **limits, level=require("require"))


def fault(tmp_path: Path, data: bytes, **told: Any) -> UserFault:
    with pytest.raises(UserFault) as caught:
        run(tmp_path, data, **told)
    assert caught.value.code in LIMIT_CODES
    return caught.value


def parquet_bomb(path: Path, megabytes: int, rows: int) -> bytes:
    """One large value, and very many rows that refer to it: under a kilobyte of file."""
    value = pa.array(["x" * megabytes * MB])
    column = pa.DictionaryArray.from_arrays(pa.array([0] * rows, pa.int32()), value)
    pq.write_table(pa.table({"text": column}), path, compression="zstd")
    return path.read_bytes()


def test_the_report_is_the_same_twice_and_names_its_files(
    tmp_path: Path, tokenizer_dir: Path
) -> None:
    told: list[tuple[int, int, int]] = []
    first = run(tmp_path, ROW * 3, tokenizer_dir=tokenizer_dir, progress=lambda *p: told.append(p))
    written = (tmp_path / "out" / "rows.jsonl").read_bytes()
    second = run(tmp_path, ROW * 3, tokenizer_dir=tokenizer_dir)
    assert first == second
    assert first.rows_sha256 == hashlib.sha256(written).hexdigest()
    assert first.source_sha256 == hashlib.sha256(ROW * 3).hexdigest()
    assert (first.rows_bytes, first.source_bytes) == (len(written), 3 * len(ROW))
    assert told[-1][:2] == (3 * len(ROW), 3 * len(ROW))


def test_tokens_are_counted_without_torch_and_are_the_same(
    tmp_path: Path, tokenizer_dir: Path, check: Check
) -> None:
    """Importing torch took seconds, and more memory than this."""
    assert "torch" in sys.modules, "in this process transformers has it"
    alone = run(tmp_path, ROW * 3, tokenizer_dir=tokenizer_dir, memory_mb=160)
    assert alone.tokens_trained
    assert alone == check(ROW * 3, tokenizer_dir=tokenizer_dir)


def test_bombs_are_refused_while_they_unpack(tmp_path: Path) -> None:
    limits = {"limits": {"decoded_bytes": 50 * MB}}
    for bomb in (zstandard.compress(b" " * 300 * MB), gzip.compress(b" " * 300 * MB)):
        assert len(bomb) < MB
        assert fault(tmp_path, bomb, **limits).code == "limit_decoded_bytes"
    bomb = parquet_bomb(tmp_path / "bomb", megabytes=1, rows=1_000_000)
    assert len(bomb) < 100_000
    assert fault(tmp_path, bomb, **limits).code == "limit_decoded_bytes"


def test_a_file_that_wants_too_much_memory_ends_the_child_alone(tmp_path: Path) -> None:
    bomb = parquet_bomb(tmp_path / "bomb", megabytes=30, rows=100)
    found = fault(tmp_path, bomb, memory_mb=400)
    assert found.code == "limit_memory"
    assert "400 MB" in found.message


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[Child]:
    """The checks that were started, as each is."""
    children: list[Child] = []

    def begin(*args: Any, **how: Any) -> Child:
        children.append(start_loaded(*args, **how))
        return children[-1]

    monkeypatch.setattr(child_module, "start_loaded", begin)
    return children


def _kill_innermost(check: Child, killed: list[int]) -> None:
    """The check itself, below its keeper and wrappers, as the kernel does it."""
    pid = check.process.pid
    while below := Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        pid = int(below[0])
    killed.append(pid)
    os.kill(pid, signal.SIGKILL)


@pytest.mark.parametrize("counted", [0, 1])
def test_a_check_that_the_kernel_ends_for_memory_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, started: list[Child], counted: int
) -> None:
    """A kill that the kernel has not counted as one for memory stays a fault of ours."""
    killed: list[int] = []
    monkeypatch.setattr(groups, "PROC", tmp_path / "cgroup")
    monkeypatch.setattr(groups, "ROOT", tmp_path / "groups")
    (tmp_path / "groups/a").mkdir(parents=True)
    (tmp_path / "cgroup").write_text("0::/a\n")
    before_all = groups.ended_for_memory()

    def kill(read: int, total: int, rows: int) -> None:
        if total and not killed:  # it has begun to read
            told = f"low 0\noom_kill {before_all + counted}\n"
            (tmp_path / "groups/a/memory.events").write_text(told)
            _kill_innermost(started[0], killed)

    with pytest.raises((UserFault, OurFault)) as caught:
        run(tmp_path, ROW * 200_000, progress=kill)
    assert killed
    assert caught.value.code == ("limit_memory" if counted else "check_crashed")
    assert "memory" in caught.value.message if counted else "memory" not in caught.value.message


def test_too_many_rows_and_too_much_time_are_named(tmp_path: Path) -> None:
    assert fault(tmp_path, ROW * 11, limits={"rows": 10}).code == "limit_rows"
    slow = b"".join(b'{"text": "%d"}\n' % number for number in range(1_000_000))
    assert fault(tmp_path, slow, seconds=1).code == "limit_time"


def test_a_base_without_tokenizer_is_named(tmp_path: Path) -> None:
    assert fault(tmp_path, ROW, tokenizer_dir=tmp_path).code == "no_tokenizer"


def test_the_rows_that_were_taken_are_told_on_the_way(tmp_path: Path) -> None:
    told: list[tuple[int, int, int]] = []
    report = run(tmp_path, ROW * 200_000, progress=lambda *each: told.append(each))
    rows = [each[2] for each in told]
    assert rows == sorted(rows)
    assert 0 < rows[-1] <= report.rows == 200_000


def test_the_caller_can_cancel_and_nothing_is_left_running(
    tmp_path: Path, started: list[Child]
) -> None:
    below: set[int] = set()

    def cancel(read: int, total: int, rows: int) -> None:
        below.update(_below(started[0].process.pid))
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(tmp_path, ROW * 200_000, progress=cancel)
    assert len(below) >= 2, "the check, and its keeper"
    assert not [pid for pid in below if Path(f"/proc/{pid}").exists()]


def test_a_child_that_says_nothing_more_can_be_cancelled() -> None:
    says = 'import time; print(\'{"read": 3, "total": 9, "rows": 1}\', flush=True); time.sleep(600)'
    child = subprocess.Popen(
        [sys.executable, "-c", says], stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    told: list[tuple[int, int]] = []

    def cancel(*progress: int) -> None:
        told.append((progress[0], progress[1]))
        if told.count((3, 9)) == 3:
            raise InterruptedError

    with child:
        output, errors = child.stdout, child.stderr
        assert output is not None
        assert errors is not None
        with pytest.raises(InterruptedError):
            child_module._communicate(Executed(child, -1), output, errors, cancel)
        child.kill()


def _below(pid: int) -> set[int]:
    """A process, and all that it or one of them has started."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    return {pid}.union(*(_below(int(child)) for child in children))


def test_a_crash_is_our_fault_and_says_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(child_module, "_environment", lambda: {"PYTHONHOME": "/nowhere"})
    with pytest.raises(OurFault) as caught:
        run(tmp_path, ROW)
    assert caught.value.code == "check_crashed"
    assert "exit code 1" in caught.value.message


def test_the_child_has_no_credentials_of_its_parent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABASE_URL", "postgres://secret")
    assert "secret" not in json.dumps(child_module._environment())
