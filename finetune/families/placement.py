"""Where a base runs and in which precision it does so fastest, found by trying, and why.

`python -m finetune.families.placement FAMILY BASE_DIR` prints {"device", "code", "data"}.
"""

import json
import sys
import time
from pathlib import Path

from finetune import events
from finetune.events import PrecisionChosen
from finetune.families import family
from finetune.families.contract import Device, Precision

NATIVE_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86 tiles, ARM
WORTH_IT = 1.1  # bf16 rounds; a smaller gain does not pay for that


def device() -> Device:
    """A GPU when there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def native_bf16() -> set[str]:
    """The processor's flags that say it multiplies bf16 itself; elsewhere fp32 is faster."""
    return NATIVE_BF16_FLAGS & _cpu_flags()


def choose(family_name: str, base_dir: Path, *, on: Device = "cpu") -> PrecisionChosen:
    """The precision to train in, and why. On a CPU with native bf16 a step of a shallow copy of the
    base's shape, with random weights, is timed in both precisions (about a second)."""
    if on == "cuda":
        return events.PrecisionOfGpu(precision="bf16")
    flags = native_bf16()
    if not flags:
        return events.PrecisionWithoutBf16(precision="fp32")
    full, half = (_seconds(family_name, base_dir, precision) for precision in ("fp32", "bf16"))
    ratio = full / half
    names = ", ".join(sorted(flags))
    if ratio < WORTH_IT:
        return events.PrecisionBf16Slow(precision="fp32", flags=names, ratio=ratio)
    return events.PrecisionBf16Fast(precision="bf16", flags=names, ratio=ratio)


def _cpu_flags() -> set[str]:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except FileNotFoundError:  # not Linux: nothing is claimed
        return set()
    lines = (line.partition(":") for line in text.splitlines())
    return {
        flag
        for key, _, value in lines
        if key.strip() in {"flags", "Features"}
        for flag in value.split()
    }


def _seconds(family_name: str, base_dir: Path, precision: Precision) -> float:
    """The fastest of a few steps, the head included."""
    times = []
    for step in family(family_name).rehearsal(base_dir, precision):
        start = time.perf_counter()
        step()
        times.append(time.perf_counter() - start)
    return min(times)


def main(family_name: str, base_dir: Path) -> None:
    on = device()
    chosen = choose(family_name, base_dir, on=on)
    print(json.dumps({"device": on, "code": chosen.code, "data": chosen.params}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2]))
