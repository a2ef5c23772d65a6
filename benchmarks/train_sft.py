"""Tokens per second of our trainer against TRL's SFTTrainer: same rows, order, steps, threads.

    OMP_NUM_THREADS=2 python benchmarks/train_sft.py --base BASE_DIR [--data ROWS.jsonl]

Each side runs in a process of its own, one after the other, in turns; the first steps of each
process warm up and do not count. With one thread, processor time is compared, otherwise the clock.
Tokens are the rows' own, for both; what padding adds or a shared beginning saves is not counted.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

WARM_UP = 2
SIDES = ("trl", "fp32", "auto")


def main() -> None:
    options = _options()
    if options.side:
        print(json.dumps(one_side(options.side, options)))
        return
    with tempfile.TemporaryDirectory() as folder:
        options.data = options.data or demo_rows(Path(folder) / "train.jsonl")
        results: dict[str, list[dict[str, Any]]] = {side: [] for side in options.sides}
        for turn in range(options.turns):
            for side in options.sides:
                result = run_side(side, options)
                results[side].append(result)
                print(f"turn {turn + 1}  {side:<14} {result['tokens_per_second']:7.1f} tokens/s")
    report(results)


def run_side(side: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--side", side]
    command += ["--base", str(options.base), "--data", str(options.data)]
    command += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
    result: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return result


def one_side(side: str, options: argparse.Namespace) -> dict[str, Any]:
    """Runs in the child: WARM_UP + steps optimizer steps of one trainer."""
    import torch

    from finetune.families.placement import choose
    from finetune.trainer.cores import lanes_for
    from finetune.trainer.memory import peak_memory_mb
    from finetune.trainer.spec import OptimSpec, RunSpec

    torch.set_num_threads(threads())
    precision = choose("causal_lm", options.base).precision if side == "auto" else "fp32"
    spec = RunSpec(
        precision=precision,
        batch_size=options.batch_size,
        optim=OptimSpec(learning_rate=1e-3, warmup_ratio=0),
        share_prefixes=side != "fp32-unshared",
        threads=threads(),
        lanes=lanes_for(options.batch_size, threads()),
    )
    rows, plan = full_batches(options.base, Path(options.data), spec)
    steps = WARM_UP + options.steps
    run = trl if side.startswith("trl") else ours
    losses, seconds = run(options.base, spec, rows, plan, steps, side)
    counted = range(WARM_UP, steps)
    tokens = sum(len(rows[number]) for step in counted for number in plan.rows_of(step))
    return {
        "side": side,
        "precision": "bf16" if side == "trl-bf16" else precision,
        "tokens_per_second": tokens / sum(seconds[step] for step in counted),
        "losses": losses,
        "peak_memory_mb": peak_memory_mb(),
    }


def full_batches(base: Path, data: Path, spec: Any) -> Any:
    """(rows, plan) without the last rows, which make no full batch."""
    from finetune.families import family
    from finetune.trainer.data import make_plan
    from finetune.trainer.objectives.sft import SFT
    from finetune.trainer.reading import read_rows

    read = family("causal_lm").reader(base, SFT.records, max_length=spec.max_length)
    rows = read_rows(data.parent, data.name, read, None)
    rows = rows[: len(rows) // spec.batch_size * spec.batch_size]
    return rows, make_plan(rows, batch_size=spec.batch_size, epochs=99, seed=0, pack_to=None)


def ours(base: Path, spec: Any, rows: Any, plan: Any, steps: int, _: str) -> Any:
    losses, seconds = [], []
    with tempfile.TemporaryDirectory() as folder:
        run = run_in(Path(folder), base, spec, rows, _Cut(plan, steps))
        for _step in range(steps):
            start = now()
            take_step(run)
            losses.append(run.history.steps[-1].train_loss)
            seconds.append(now() - start)
        run.events.close()
    return losses, seconds


def run_in(folder: Path, base: Path, spec: Any, rows: Any, plan: Any) -> Any:
    from finetune.families.causal_lm import adapted
    from finetune.trainer import optim
    from finetune.trainer.checkpoint import Checkpoints
    from finetune.trainer.events import EventLog
    from finetune.trainer.lanes import Lanes
    from finetune.trainer.lifeline import Stop
    from finetune.trainer.objectives.sft import SFT
    from finetune.trainer.run import Run, Speedometer
    from finetune.trainer.state import TrainerState

    model = adapted.load(base, spec.adapter, precision=spec.precision, device="cpu", seed=0)
    return Run(
        spec=spec,
        model=model,
        objective=SFT,
        lanes=Lanes(spec.lanes, spec.threads),
        optimizer=optim.adamw(model.parameters, model.parameter_names, spec.optim),
        rows=rows,
        valid=[],
        plan=plan,
        state=TrainerState(spec_sha256=""),
        checkpoints=Checkpoints(folder),
        events=EventLog(folder / "events.jsonl"),
        stop=Stop(),
        speed=Speedometer(),
    )


def take_step(run: Any) -> None:
    from finetune.trainer import loop, telling

    loop.step(run)
    assert run.state.pending is not None
    telling.report(run, run.state.pending)


class _Cut:
    """A plan that ends after `total_steps`, as TRL's max_steps does; the schedule sees it."""

    def __init__(self, plan: Any, total_steps: int) -> None:
        self.rows_of = plan.rows_of
        self.steps_per_epoch = plan.steps_per_epoch
        self.total_steps = total_steps


def trl(base: Path, spec: Any, rows: Any, plan: Any, steps: int, side: str) -> Any:
    from finetune.families.causal_lm import adapted
    from tests.finetune.trainer.oracle import train_with_trl

    start = adapted.load(base, spec.adapter, precision="fp32", device="cpu", seed=0)
    adapter = start.adapter_state()
    del start
    with tempfile.TemporaryDirectory() as folder:
        losses, _, watch = train_with_trl(
            base,
            spec,
            rows,
            plan,
            adapter,
            out=Path(folder),
            max_steps=steps,
            bf16=side == "trl-bf16",
        )
    return losses, [step[0 if threads() > 1 else 1] for step in watch.steps]


def report(results: dict[str, list[dict[str, Any]]]) -> None:
    medians = {
        side: statistics.median(run["tokens_per_second"] for run in runs)
        for side, runs in results.items()
    }
    first = {side: runs[0] for side, runs in results.items()}
    for side, speed in medians.items():
        run = first[side]
        line = f"{side:<14} {run['precision']}  median {speed:7.1f} tokens/s"
        line += f"  peak {run['peak_memory_mb']} MB"
        if "trl" in medians and side != "trl":
            pairs = zip(run["losses"], first["trl"]["losses"], strict=True)
            gap = max(abs(a - b) / b for a, b in pairs)
            line += f"  {speed / medians['trl']:.2f}x TRL  losses within {gap:.1e}"
        print(line)


def demo_rows(path: Path) -> Path:
    from privatune.demo.commands import train_commands, write_rows
    from privatune.demo.grammar import Grammar

    write_rows(path, train_commands(Grammar(), 400))
    return path


def threads() -> int:
    return int(os.environ.get("OMP_NUM_THREADS", "1"))


def now() -> float:
    return time.perf_counter() if threads() > 1 else time.process_time()


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the imported base")
    parser.add_argument("--data", type=Path, help="canonical rows; default: the demo's")
    parser.add_argument("--steps", type=int, default=10, help="counted steps of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument(
        "--sides",
        nargs="+",
        default=list(SIDES),
        choices=[*SIDES, "fp32-unshared", "trl-bf16"],
    )
    parser.add_argument("--side", help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
