"""Training on several cores: one thread, threads inside each operation, and lanes, in turns.

    python benchmarks/lanes.py --base BASE_DIR [--data ROWS.jsonl] [--cores 2]

One process, pinned to as many cores, takes each step of the demo's rows on one model in three ways,
one after the other and each first in turn, so that whatever else the machine does hits all alike.
Beside them stands what the cores give at most, whoever shares the work: as many processes as cores,
each with one thread and a model of its own, that take the same step whole and wait for each other
nowhere. Told are the medians over the steps, by the clock. Nothing else should run beside it.
"""

import argparse
import multiprocessing
import os
import statistics
import tempfile
import time
from pathlib import Path
from typing import Any

import torch
from train_sft import demo_rows, full_batches, run_in, take_step

from finetune.families.allocation import keep_freed_memory
from finetune.trainer.lanes import Lanes
from finetune.trainer.spec import OptimSpec, RunSpec

WARM_UP = 2


def main() -> None:
    options = _options()
    cores = sorted(os.sched_getaffinity(0))[: options.cores]
    os.sched_setaffinity(0, cores)
    ways = {  # (threads, lanes)
        "one thread": (1, 1),
        f"{options.cores} threads": (options.cores, 1),
        f"{options.cores} lanes": (options.cores, options.cores),
    }
    apart = f"{options.cores} processes"
    others = [Apart(options, core) for core in cores]
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Path(folder), options)
        times: dict[str, list[float]] = {way: [] for way in (*ways, apart)}
        for number in range(WARM_UP + options.steps):
            first = number % len(times)
            for way in (*list(times)[first:], *list(times)[:first]):
                if way == apart:
                    seconds = at_once(others, number) / len(others)
                else:
                    seconds = timed_step(run, number, *ways[way])
                if number >= WARM_UP:
                    times[way].append(seconds)
        run.events.close()
    for each in others:
        each.end()
    tokens = [size_of(run, WARM_UP + number) for number in range(options.steps)]
    report(tokens, times)


class Apart:
    """A process on a core of its own that takes the steps it is told, with one thread."""

    def __init__(self, options: argparse.Namespace, core: int) -> None:
        context = multiprocessing.get_context("spawn")
        self.line, theirs = context.Pipe()
        self._process = context.Process(target=_apart, args=(options, core, theirs), daemon=True)
        self._process.start()
        self.line.recv()  # ready

    def end(self) -> None:
        self.line.send(None)
        self._process.join()


def _apart(options: argparse.Namespace, core: int, line: Any) -> None:
    os.sched_setaffinity(0, [core])
    with tempfile.TemporaryDirectory() as folder:
        run = prepared(Path(folder), options)
        line.send(None)
        while (number := line.recv()) is not None:
            line.send(timed_step(run, number, 1, 1))
        run.events.close()


def at_once(others: list[Apart], number: int) -> float:
    """Seconds until all have taken the step."""
    for each in others:
        each.line.send(number)
    return max(float(each.line.recv()) for each in others)


def prepared(folder: Path, options: argparse.Namespace) -> Any:
    if not options.plain_malloc:
        keep_freed_memory()
    spec = RunSpec(
        precision=options.precision,
        batch_size=options.batch_size,
        optim=OptimSpec(learning_rate=1e-3, warmup_ratio=0),
        threads=1,
    )
    data = options.data or demo_rows(folder / "train.jsonl")
    return run_in(folder, options.base, spec, *full_batches(options.base, data, spec))


def timed_step(run: Any, number: int, threads: int, lanes: int) -> float:
    torch.set_num_threads(threads)
    run.state.step = number
    with Lanes(lanes, threads) as run.lanes:
        start = time.perf_counter()
        take_step(run)
        return time.perf_counter() - start


def size_of(run: Any, step: int) -> int:
    return sum(len(run.rows[number]) for number in run.plan.rows_of(step))


def report(tokens: list[int], times: dict[str, list[float]]) -> None:
    """Ratios are medians of each step's own ratio."""
    base = next(iter(times.values()))
    for way, seconds in times.items():
        speed = statistics.median(t / s for t, s in zip(tokens, seconds, strict=True))
        ratio = statistics.median(b / s for b, s in zip(base, seconds, strict=True))
        print(f"{way:<12} median {speed:7.1f} tokens/s  {ratio:.2f}x one thread")


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the imported base")
    parser.add_argument("--data", type=Path, help="canonical rows; default: the demo's")
    parser.add_argument("--cores", type=int, default=2)
    parser.add_argument("--steps", type=int, default=15, help="counted steps")
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--precision", choices=["fp32", "bf16"], default="fp32")
    parser.add_argument("--plain-malloc", action="store_true", help="without keep_freed_memory")
    return parser.parse_args()


if __name__ == "__main__":
    main()
