"""How far off estimates are: 20 small jobs of varied settings through the running stack.

    python benchmarks/estimates.py [--jobs 20] [--hidden 256] [--layers 6]

Each job is estimated first (by a rehearsal, or by what the jobs before it left), then trained; its
receipt is compared. The base has random weights. Printed are all errors, and how many are within 5%
of the memory and 15% of the time. A machine that is busy with other work shifts the seconds.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from statistics import median
from typing import Any

from openai import OpenAI

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from privatune.cli.client import Client  # noqa: E402
from privatune.demo.stack import Stack, running_stack  # noqa: E402
from tests.tiny import build_tiny_base  # noqa: E402

MODEL = "bench"
WORDS = ("turn", "on", "the", "light", "in", "kitchen", "and", "switch", "off", "fan", "please")
NAMES = {"peak_memory_mb": 0.05, "training_seconds": 0.15, "seconds": 0.15}
POLL_SECONDS = 0.5


def wishes() -> Iterator[tuple[str, dict[str, Any]]]:
    """(what varies, the request's fields besides model and files; `rows`, `words` are the data)."""
    plain: dict[str, Any] = {"rows": 160, "words": 20, "n_epochs": 2, "batch_size": 8}
    varied: dict[str, dict[str, Any]] = {
        "plain": {},
        "the same again": {},
        "other rows": {"rows": 240},
        "more epochs": {"n_epochs": 5},
        "rank 4": {"adapter": {"r": 4}},
        "rank 64": {"adapter": {"r": 64}},
        "one layer kind": {"adapter": {"targets": ["q_proj"]}},
        "dropout": {"adapter": {"dropout": 0.1}},
        "DoRA": {"adapter": {"use_dora": True}},
        "batch 2": {"batch_size": 2},
        "batch 32": {"batch_size": 32},
        "long rows": {"words": 90, "rows": 80},
        "long rows again": {"words": 90, "rows": 120},
        "short rows": {"words": 4, "rows": 300},
        "packed": {"packing": True, "max_length": 256},
        "checkpointing": {"gradient_checkpointing": True},
        "small micro-batches": {"micro_batch_tokens": 128},
        "validation": {"valid": True},
        "validation often": {"valid": True, "evaluation": {"every_steps": 5}},
        "long and checkpointed": {"words": 90, "rows": 80, "gradient_checkpointing": True},
    }
    for name, changes in varied.items():
        yield name, plain | changes


def write_rows(path: Path, count: int, words: int) -> Path:
    lines = []
    for number in range(count):
        length = words // 2 + (number * 7919) % words + 1
        text = " ".join(WORDS[(number + place) % len(WORDS)] for place in range(length))
        talk = [
            {"role": "user", "content": f"{text} {number}"},
            {"role": "assistant", "content": json.dumps({"intent": "on", "n": number})},
        ]
        lines.append(json.dumps({"messages": talk}))
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


def main() -> None:
    options = _options()
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        base = build_tiny_base(home / "base", hidden=options.hidden, layers=options.layers)
        with running_stack(home / "data", home / "stack.log") as starting:
            stack = starting.ready()
            stack.operate("models", "import", str(base), "--name", MODEL, "--licence", "none")
            tenant = str(stack.first["tenant"])
            stack.operate("license", "issue", "--tenant", tenant, "--model", MODEL)
            found = []
            for name, wish in [*wishes()][: options.jobs]:
                found.append(one(stack, wish, home))
                tell(name, found[-1])
    report(found)


def one(stack: Stack, wish: dict[str, Any], home: Path) -> dict[str, Any]:
    """The receipt."""
    key = str(stack.first["api_key"])
    own = Client(stack.base_url, key)
    wire = OpenAI(base_url=f"{own.root}/v1", api_key=key)
    data = write_rows(home / "rows.jsonl", wish["rows"], wish["words"])
    file = wire.files.create(file=data, purpose="fine-tune").id
    method = {"n_epochs": wish["n_epochs"], "batch_size": wish["batch_size"]}
    body = {name: wish[name] for name in wish if name not in
            ("rows", "words", "valid", "n_epochs", "batch_size")}  # fmt: skip
    body |= {"model": MODEL, "training_file": file, "hyperparameters": method}
    if wish.get("valid"):
        held = write_rows(home / "valid.jsonl", 40, wish["words"])
        body["validation_file"] = wire.files.create(file=held, purpose="fine-tune").id
    estimate = own.post("/api/v1/estimates", body)
    while (told := own.get(f"/api/v1/estimates/{estimate['id']}"))["status"] != "ready":
        if told["status"] == "failed":
            raise SystemExit(f"no estimate: {told['error']}")
        time.sleep(POLL_SECONDS)
    job = own.post("/v1/fine_tuning/jobs", body)
    while (job := own.get(f"/v1/fine_tuning/jobs/{job['id']}"))["status"] != "succeeded":
        if job["status"] in ("failed", "cancelled"):
            raise SystemExit(f"no model: {job['error']}")
        time.sleep(POLL_SECONDS)
    return dict(job["receipt"])


def tell(name: str, receipt: dict[str, Any]) -> None:
    took, expected, errors = receipt["took"], receipt["expected"], receipt["errors"]
    cells = [f"{each} {expected[each]:g} -> {took[each]:g} ({errors[each]:+.1%})" for each in NAMES]
    exact = errors["trained_tokens"] == errors["steps"] == 0
    print(
        f"{name:22} {'exact' if exact else 'WRONG'} tokens and steps   {'   '.join(cells)}",
        flush=True,
    )


def report(found: list[dict[str, Any]]) -> None:
    print()
    for each, bound in NAMES.items():
        sizes = sorted(abs(receipt["errors"][each]) for receipt in found)
        within = sum(size <= bound for size in sizes)
        print(
            f"{each:18} within {bound:.0%}: {within} of {len(sizes)}; median {median(sizes):.1%}, "
            f"largest {sizes[-1]:.1%}"
        )


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=20)
    parser.add_argument("--hidden", type=int, default=256)
    parser.add_argument("--layers", type=int, default=6)
    return parser.parse_args()


if __name__ == "__main__":
    main()
