"""From a large file of chats to rows that can be trained: how long, how fast, how much memory.

    python benchmarks/long_files.py --base BASE_DIR [--megabytes 20] [--turns 10] [--workers N]

Stages, each in a process of its own, in this order:

    stock      transformers: json.loads and apply_chat_template with tokens of each row, no mask, no
               check of anything, one process: the peer that the others are compared with
    plain      that tokenizer's own encode_batch_fast of the contents alone, no template: the least
               that whoever asks it about every text can take
    former     our encoding before turns were rendered and encoded together: every beginning of a
               conversation by itself; on the first rows only
    encode     our encoding now, one process, as the trainer does where nothing was frozen
    structure  the check right after the upload: no base, canonical rows written
    check      the check for a base: every row validated, encoded, masked, counted and frozen
    map        what a run's start and every resume do with frozen rows: SHA-256 of the whole file,
               mapped, the first batch made

The rows are of `chat_rows`. Of `stock`, `plain`, `former` and `encode` only the first rows are
timed. The last column is the time for 1 GB if the processors' seconds spread over the workers.

MB are millions of bytes of the JSON lines. On a machine that does other work, too, compare by the
processors' seconds, which all processes of a stage are counted in. Memory is the most that one
process of the stage had resident, libraries included; `imports` is what these alone take.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from benchmarks.chat_rows import write_rows  # noqa: E402

FORMER_ROWS, SINGLE_ROWS = 200, 4000
BATCH = 8


def main() -> None:
    options = _options()
    os.environ |= {"TOKENIZERS_PARALLELISM": "false", "OMP_NUM_THREADS": "1"}
    if options.stage:
        if options.stage != "map":
            sys.modules["torch"] = None  # type: ignore[assignment]  # as in a check
        print(json.dumps(STAGES[options.stage](options)))
        return
    with tempfile.TemporaryDirectory(dir=options.folder) as folder:
        options.folder = Path(folder)
        rows = write_rows(options.folder / "rows.jsonl", options.megabytes * 10**6, options.turns)
        size = (options.folder / "rows.jsonl").stat().st_size
        print(f"{rows} rows of {options.turns} turns, {size / 1e6:.0f} MB, {options.workers} cores")
        peer: tuple[float, float] | None = None
        for stage in STAGES:
            told, peak = run_stage(stage, options)
            part = told["rows"] / rows
            megabytes = part * size / 1e6
            line = f"{stage:10}{told['seconds']:9.2f} s{told['processor']:9.2f} s of processors"
            if told["rows"]:
                speed, cost = megabytes / told["seconds"], megabytes / told["processor"]
                peer = peer or (speed, cost)
                line += f"{told['rows'] / told['seconds']:9.0f} rows/s{speed:8.2f} MB/s"
                line += f"{speed / peer[0]:8.2f}x stock ({cost / peer[1]:.2f}x by processor)"
                line += f"{1000 / cost / options.workers:6.0f} s for 1 GB"
            print(f"{line}  peak {peak:.0f} MB", flush=True)


def run_stage(stage: str, options: argparse.Namespace) -> tuple[dict[str, Any], float]:
    """(what it told, its most resident memory in MB)"""
    command = [sys.executable, "-W", "ignore", __file__, "--stage", stage]
    command += ["--base", str(options.base), "--folder", str(options.folder)]
    command += ["--workers", str(options.workers)]
    child = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert child.stdout is not None
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    child.returncode = os.waitstatus_to_exitcode(status)
    if child.returncode:
        raise SystemExit(f"{stage} ended with {child.returncode}")
    return json.loads(output.splitlines()[-1]), usage.ru_maxrss * 1024 / 1e6


def timed(work: Callable[[], int]) -> dict[str, Any]:
    start, used = time.monotonic(), processor_seconds()
    rows = work()
    spent = {"seconds": time.monotonic() - start, "processor": processor_seconds() - used}
    return {"rows": rows} | spent


def processor_seconds() -> float:
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def imports(options: argparse.Namespace) -> dict[str, Any]:
    def work() -> int:
        _encoder(options)
        return 0

    return timed(work)


def stock(options: argparse.Namespace) -> dict[str, Any]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(options.base)

    def work() -> int:
        rows = 0
        with (options.folder / "rows.jsonl").open("rb") as lines:
            for line in lines:
                tokenizer.apply_chat_template(json.loads(line)["messages"], return_dict=True)
                rows += 1
                if rows == SINGLE_ROWS:
                    break
        return rows

    return timed(work)


def plain(options: argparse.Namespace) -> dict[str, Any]:
    fast = _encoder(options).tokenizer.backend_tokenizer

    def work() -> int:
        rows = 0
        with (options.folder / "rows.jsonl").open("rb") as lines:
            for line in lines:
                said = [message["content"] for message in json.loads(line)["messages"]]
                for encoding in fast.encode_batch_fast(said, add_special_tokens=False):
                    assert encoding.ids
                rows += 1
                if rows == SINGLE_ROWS:
                    break
        return rows

    return timed(work)


def encode(options: argparse.Namespace, most: int = SINGLE_ROWS) -> dict[str, Any]:
    encoder = _encoder(options)

    def work() -> int:
        rows = 0
        with (options.folder / "rows.jsonl").open("rb") as lines:
            for line in lines:
                encoder.encode(json.loads(line))
                rows += 1
                if rows == most:
                    break
        return rows

    return timed(work)


def former(options: argparse.Namespace) -> dict[str, Any]:
    from finetune.records.borders import Borders
    from finetune.records.template import ChatTemplate

    Borders.cut = lambda *_: None  # type: ignore[method-assign]
    ChatTemplate.watch = lambda *_, **__: None  # type: ignore[method-assign]
    return encode(options, FORMER_ROWS)


def structure(options: argparse.Namespace) -> dict[str, Any]:
    return timed(lambda: _check(options, None))


def check(options: argparse.Namespace) -> dict[str, Any]:
    return timed(lambda: _check(options, options.base))


def map_(options: argparse.Namespace) -> dict[str, Any]:
    import hashlib

    from finetune.families.causal_lm.layout import Row
    from finetune.records.frozen import Frozen, FrozenItems
    from finetune.trainer.data import make_plan

    def work() -> int:
        path = options.folder / "out" / "rows.tokens"
        with path.open("rb") as file:
            hashlib.file_digest(file, "sha256")
        rows = FrozenItems(Frozen(path), Row)
        plan = make_plan(rows, batch_size=BATCH, epochs=3, seed=0, pack_to=None)
        assert sum(rows[number].trained for number in plan.rows_of(0))
        return len(rows)

    return timed(work)


def _encoder(options: argparse.Namespace) -> Any:
    from finetune.records.encode import RowEncoder, load_tokenizer

    return RowEncoder(load_tokenizer(options.base))


def _check(options: argparse.Namespace, base: Path | None) -> int:
    from finetune.records.check.run import run_check
    from finetune.records.check.spec import CheckSpec

    source, out = options.folder / "rows.jsonl", options.folder / "out"
    out.mkdir(exist_ok=True)
    spec = CheckSpec(
        source=source, source_name=source.name, tokenizer_dir=base, workers=options.workers
    )
    report = run_check(spec, out, lambda read, rows: None)
    assert report.ok, report.problem_counts
    return report.rows


STAGES: dict[str, Callable[[argparse.Namespace], dict[str, Any]]] = {
    "imports": imports,
    "stock": stock,
    "plain": plain,
    "former": former,
    "encode": encode,
    "structure": structure,
    "check": check,
    "map": map_,
}


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--base", type=Path, required=True, help="folder of the imported base")
    parser.add_argument("--megabytes", type=int, default=20, help="of the file that is made")
    parser.add_argument("--turns", type=int, default=10, help="of each conversation")
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--folder", type=Path, help="where the file is made (default: temporary)")
    parser.add_argument("--stage", choices=list(STAGES), help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
