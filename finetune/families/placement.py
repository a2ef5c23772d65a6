"""Where a base runs and in which precision it does so fastest, found by trying, and why.

`python -m finetune.families.placement FAMILY BASE_DIR` prints {"device", "code", "data", "free"}:
`free` are the bytes that a GPU has left, null without one. Without arguments it tries nothing and
prints {"device", "bf16", "free"}.
"""

import json
import sys
import time
from pathlib import Path

from faults import OurFault
from finetune import events
from finetune.events import PrecisionChosen
from finetune.families import family
from finetune.families.allocation import keep_freed_memory
from finetune.families.contract import Device, Precision

NATIVE_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86 tiles, ARM
FIRST_WITH_BF16 = (8, 0)
WORTH_IT = 1.1  # bf16 rounds; a smaller gain does not pay for that


def gpu_has_bf16(capability: tuple[int, int]) -> bool:
    """Whether an NVIDIA GPU of this compute capability multiplies bf16 itself: from Ampere (8.0)
    on. torch.cuda.is_bf16_supported also says yes where each product is emulated in fp32."""
    return capability >= FIRST_WITH_BF16


def capability() -> tuple[int, int]:
    """Of the GPU that training and serving use."""
    import torch

    return torch.cuda.get_device_capability()


def require(on: Device, precision: Precision) -> None:
    """A run keeps the device and precision that it began with. Raises OurFault `no_gpu` or
    `no_bf16` where this machine lacks them, so that another worker may take it."""
    if on != "cuda":
        return
    if device() != "cuda":
        raise OurFault(
            "no_gpu",
            "The run began on a GPU, and this machine shows none.",
            fix="Give the worker its GPU back (nvidia-smi shows what the driver sees).",
        )
    if precision == "bf16" and not gpu_has_bf16(capability()):
        raise OurFault(
            "no_bf16",
            f"The run is to be in bf16, which this GPU ({_gpu()}) does not multiply.",
            fix="Run the worker on a GPU of compute capability 8.0 or more (Ampere or newer).",
        )


def _gpu() -> str:
    import torch

    return f"{torch.cuda.get_device_name()}, compute capability {_dotted(capability())}"


def _dotted(capability: tuple[int, int]) -> str:
    return ".".join(map(str, capability))


def device() -> Device:
    """A GPU when there is one."""
    import torch

    return "cuda" if torch.cuda.is_available() else "cpu"


def free_memory(on: Device) -> int | None:
    """Bytes that a GPU has left; None for a CPU, whose memory needs no torch to be told."""
    import torch

    return torch.cuda.mem_get_info()[0] if on == "cuda" else None


def native_bf16() -> set[str]:
    """The processor's flags that say it multiplies bf16 itself; elsewhere fp32 is faster."""
    return NATIVE_BF16_FLAGS & _cpu_flags()


def choose(family_name: str, base_dir: Path, *, on: Device = "cpu") -> PrecisionChosen:
    """The precision to train in, and why. On a CPU with native bf16 a step of a shallow copy of the
    base's shape, with random weights, is timed in both precisions (about a second)."""
    if on == "cuda":
        return _choose_on_gpu()
    flags = native_bf16()
    if not flags:
        return events.PrecisionWithoutBf16(precision="fp32")
    full, half = (_seconds(family_name, base_dir, precision) for precision in ("fp32", "bf16"))
    ratio = full / half
    names = ", ".join(sorted(flags))
    if ratio < WORTH_IT:
        return events.PrecisionBf16Slow(precision="fp32", flags=names, ratio=ratio)
    return events.PrecisionBf16Fast(precision="bf16", flags=names, ratio=ratio)


def _choose_on_gpu() -> PrecisionChosen:
    import torch

    has = capability()
    if gpu_has_bf16(has):
        return events.PrecisionOfGpu(precision="bf16")
    return events.PrecisionOfOlderGpu(
        precision="fp32", gpu=torch.cuda.get_device_name(), capability=_dotted(has)
    )


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
    keep_freed_memory()  # as the training will
    on = device()
    chosen = choose(family_name, base_dir, on=on)
    told = {"device": on, "code": chosen.code, "data": chosen.params, "free": free_memory(on)}
    print(json.dumps(told))


def tell() -> None:
    """What the machine has."""
    on = device()
    bf16 = on == "cuda" and gpu_has_bf16(capability())
    print(json.dumps({"device": on, "bf16": bf16, "free": free_memory(on)}))


if __name__ == "__main__":
    main(sys.argv[1], Path(sys.argv[2])) if sys.argv[1:] else tell()
