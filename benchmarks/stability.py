"""Does a training recover from rows that ruin it, and is a clean one left alone?

`python benchmarks/stability.py [--runs 20]` trains a tiny base, clean and with two rows poisoned at
random places (absurd labels, a loss 10,000 times too large, embeddings that overflow), and compares
the validation losses. Ends with 1 where one is over 2 % worse, or a clean run was touched.
"""

import argparse
import sys
import tempfile
from pathlib import Path
from statistics import median
from typing import Any, get_args

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT)]

from finetune.trainer.lifeline import Stop  # noqa: E402
from finetune.trainer.loop import train  # noqa: E402
from finetune.trainer.objectives import OBJECTIVES, Objective  # noqa: E402
from tests.finetune.trainer.poison import Kind, places, poisoned, sick  # noqa: E402
from tests.finetune.trainer.runs import chat_rows, make_run, report, write_jsonl  # noqa: E402
from tests.tiny import build_tiny_base  # noqa: E402

ROWS, POISONED, WORSE = 96, 2, 1.02
SPEC: dict[str, Any] = {"epochs": 3, "batch_size": 4, "adapter": {"r": 4}}


def trained(folder: Path, base: Path, seed: int, kind: Kind | None, stability: str) -> Any:
    run = make_run(folder, base, rows=ROWS, seed=seed, stability=stability, **SPEC)
    objectives: dict[str, Objective] = dict(OBJECTIVES)
    if kind:
        rows = poisoned(chat_rows(ROWS), places(seed, ROWS, POISONED))
        write_jsonl(run / "data" / "train.jsonl", rows)
        objectives["sft"] = sick(base, kind)
    train(run, Stop(), objectives)
    return report(run)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=20, help="of each kind")
    runs, failed = parser.parse_args().runs, 0
    print(
        "| rows | runs | rolled back | rows left out, poisoned of all | loss ratio, median, worst |"
    )
    print("|---|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temp:
        base = build_tiny_base(Path(temp) / "base")
        clean = [trained(Path(temp) / f"c{n}", base, n, None, "off") for n in range(runs)]
        for kind in (None, *get_args(Kind)):
            found = [
                trained(Path(temp) / f"{kind}{n}", base, n, kind, "watched") for n in range(runs)
            ]
            ratios = [a["valid_loss"] / b["valid_loss"] for a, b in zip(found, clean, strict=True)]
            hit = sum(
                row - 1 in places(n, ROWS, POISONED)
                for n, told in enumerate(found)
                for row in told["skipped_rows"]
            )
            left_out = sum(len(told["skipped_rows"]) for told in found)
            rolled = sum(told["rollbacks"] for told in found)
            print(
                f"| {kind or 'clean'} | {runs} | {rolled} | {hit} of {left_out} "
                f"| {median(ratios):.4f}, {max(ratios):.4f} |",
                flush=True,
            )
            failed += max(ratios) > WORSE if kind else rolled > 0 or set(ratios) != {1.0}
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
