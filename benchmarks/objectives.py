"""Tokens per second of training on preferences against TRL's trainer of each objective: the same
pairs, order, steps, one thread.

    OMP_NUM_THREADS=1 python benchmarks/objectives.py --base BASE_DIR [--objectives dpo orpo ...]

Each side runs in a process of its own, in turns; its first steps warm up and do not count. What is
compared is processor time. Ours has what it asks of the base once, before the first step, counted
in: all of it over one epoch, though further epochs need none. Tokens are the pairs' own, for both.
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
SETTINGS: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.1},
    "orpo": {"beta": 0.1},
    "simpo": {"beta": 2.0, "gamma": 0.5},
    "kto": {"beta": 0.1},
    "reward": {},
}
SIDES = ("trl", "ours")


def main() -> None:
    options = _options()
    if options.side:
        print(json.dumps(one_side(options)))
        return
    for objective in options.objectives:
        speeds: dict[str, list[float]] = {side: [] for side in SIDES}
        losses: dict[str, list[float]] = {}
        for _ in range(options.turns):
            for side in SIDES:
                told = run_side(side, objective, options)
                speeds[side].append(told["tokens_per_second"])
                losses[side] = told["losses"]
        trl, ours = (statistics.median(speeds[side]) for side in SIDES)
        gap = max(abs(a - b) / abs(b) for a, b in zip(losses["ours"], losses["trl"], strict=True))
        print(
            f"{objective:<6} TRL {trl:7.1f}  ours {ours:7.1f} tokens/s  {ours / trl:.2f}x"
            f"  losses within {gap:.1e}",
            flush=True,
        )


def run_side(side: str, objective: str, options: argparse.Namespace) -> dict[str, Any]:
    command = [sys.executable, "-W", "ignore", __file__, "--side", side]
    command += ["--base", str(options.base), "--objectives", objective]
    command += ["--steps", str(options.steps), "--batch-size", str(options.batch_size)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True, env=environment)
    told: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return told


def one_side(options: argparse.Namespace) -> dict[str, Any]:
    """Runs in the child: WARM_UP + steps optimizer steps of one trainer."""
    import torch

    from finetune.trainer.objectives import OBJECTIVES
    from finetune.trainer.spec import OptimSpec, RunSpec

    torch.set_num_threads(1)
    (objective,) = options.objectives
    spec = RunSpec(
        family=OBJECTIVES[objective].family,
        objective=objective,
        batch_size=options.batch_size,
        optim=OptimSpec(learning_rate=1e-4, warmup_ratio=0),
        settings=SETTINGS[objective],
        threads=1,
    )
    steps = WARM_UP + options.steps
    texts = pairs(steps * options.batch_size)
    rows, plan = planned(options.base, spec, texts)
    if options.side == "ours":
        losses, seconds = ours(options.base, spec, rows, plan)
    else:
        losses, seconds = trl(options.base, spec, rows, plan, texts)
    taken = [number for step in range(WARM_UP, steps) for number in plan.rows_of(step)]
    return {
        "tokens_per_second": sum(len(rows[number]) for number in taken) / seconds,
        "losses": losses,
    }


def pairs(count: int) -> list[dict[str, str]]:
    """The demo's commands as texts: a long prompt that all share but for the request, the right
    call, and another command's."""
    from privatune.demo.commands import train_commands
    from privatune.demo.grammar import Grammar

    chats = [command.row()["messages"] for command in train_commands(Grammar(), count)]
    found = []
    for number, messages in enumerate(chats):
        *prompt, answer = messages
        other = next(m[-1]["content"] for m in chats[number + 1 :] + chats
                     if m[-1]["content"] != answer["content"])  # fmt: skip
        asked = "".join(f"{each['role']}: {each['content']}\n" for each in prompt)
        found.append(
            {
                "prompt": f"{asked}assistant:",
                "chosen": f" {answer['content']}",
                "rejected": f" {other}",
            }
        )
    return found


def planned(base: Path, spec: Any, texts: list[dict[str, str]]) -> Any:
    """(pairs as items, a plan of full batches over one epoch)"""
    from finetune.families import family
    from finetune.records.kinds import PAIR
    from finetune.trainer.data import make_plan

    read = family("causal_lm").reader(base, PAIR, max_length=spec.max_length)
    rows = [read(json.dumps(text).encode(), "a pair") for text in texts]
    return rows, make_plan(rows, batch_size=spec.batch_size, epochs=1, seed=0, pack_to=None)


def ours(base: Path, spec: Any, rows: Any, plan: Any) -> tuple[list[float], float]:
    from finetune.trainer import optim
    from finetune.trainer.checkpoint import Checkpoints
    from finetune.trainer.events import EventLog
    from finetune.trainer.lanes import Lanes
    from finetune.trainer.lifeline import Stop
    from finetune.trainer.objectives import OBJECTIVES
    from finetune.trainer.reference import refer
    from finetune.trainer.run import Run, Speedometer
    from finetune.trainer.state import TrainerState

    losses = []
    with tempfile.TemporaryDirectory() as folder:
        model = start(base, spec)
        run = Run(
            spec=spec,
            model=model,
            objective=OBJECTIVES[spec.objective].told(spec.settings),
            lanes=Lanes(1, 1),
            optimizer=optim.adamw(model.parameters, model.parameter_names, spec.optim),
            rows=rows,
            valid=[],
            plan=plan,
            state=TrainerState(spec_sha256=""),
            checkpoints=Checkpoints(Path(folder)),
            events=EventLog(Path(folder) / "events.jsonl"),
            stop=Stop(),
            speed=Speedometer(),
        )
        began = time.process_time()
        refer(run, Path(folder))
        # of the pairs that the counted steps take
        seconds = (time.process_time() - began) * (1 - WARM_UP / plan.total_steps)
        for number in range(plan.total_steps):
            began = time.process_time()
            step(run)
            losses.append(run.history.steps[-1].train_loss)
            seconds += (time.process_time() - began) * (number >= WARM_UP)
        run.events.close()
    return losses, seconds


def start(base: Path, spec: Any) -> Any:
    from finetune.families import family

    return family(spec.family).load(base, spec.adapter, precision="fp32", device="cpu", seed=0)


def step(run: Any) -> None:
    from finetune.trainer import loop, telling

    loop.step(run)
    assert run.state.pending is not None
    telling.report(run, run.state.pending)


def trl(
    base: Path, spec: Any, rows: Any, plan: Any, texts: list[dict[str, str]]
) -> tuple[list[float], float]:
    from tests.finetune.trainer.oracle import Stopwatch
    from tests.finetune.trainer.oracle_pairs import align_with_trl, rate_with_trl
    from tests.finetune.trainer.oracle_rewards import reward_with_trl

    adapter, watch = start(base, spec).adapter_state(), Stopwatch()
    with tempfile.TemporaryDirectory() as folder:
        if spec.objective == "kto":
            told = rate_with_trl(
                base, spec, list(unpaired(plan, texts)), adapter, out=Path(folder),
                callbacks=[watch],
            )  # fmt: skip
        elif spec.objective == "reward":
            told = reward_with_trl(
                base, spec, rows, plan, adapter, out=Path(folder), max_steps=plan.total_steps,
                callbacks=[watch],
            )  # fmt: skip
        else:
            told = align_with_trl(
                base, spec, rows, plan, adapter, out=Path(folder), max_steps=plan.total_steps,
                callbacks=[watch],
            )  # fmt: skip
    return told.losses, sum(seconds for _, seconds in watch.steps[WARM_UP:])


def unpaired(plan: Any, texts: list[dict[str, str]]) -> Any:
    """Of each step the rows in the order that TRL parts pairs in."""
    for number in range(plan.total_steps):
        yield [
            {"prompt": text["prompt"], "completion": text[side], "label": side == "chosen"}
            for side in ("chosen", "rejected")
            for text in (texts[row] for row in plan.rows_of(number))
        ]


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--base", type=Path, required=True, help="folder of the imported base")
    parser.add_argument("--steps", type=int, default=6, help="counted steps of each turn")
    parser.add_argument("--turns", type=int, default=3)
    parser.add_argument("--batch-size", type=int, default=4, help="pairs a step")
    parser.add_argument("--objectives", nargs="+", default=list(SETTINGS), choices=list(SETTINGS))
    parser.add_argument("--side", choices=SIDES, help=argparse.SUPPRESS)
    return parser.parse_args()


if __name__ == "__main__":
    main()
