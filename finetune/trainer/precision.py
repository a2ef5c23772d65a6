"""Which precision a base trains fastest in on this machine, found by trying, and why.

`python -m finetune.trainer.precision BASE_DIR` prints {"precision", "reason"} as JSON.
"""

import json
import sys
import time
from pathlib import Path
from typing import Any, Literal

Precision = Literal["fp32", "bf16"]

NATIVE_BF16_FLAGS = {"avx512_bf16", "amx_bf16", "bf16"}  # x86, x86 tiles, ARM
PROBE_LAYERS = 2
PROBE_TOKENS = 256
PROBE_STEPS = 3
WORTH_IT = 1.1  # bf16 rounds; a smaller gain does not pay for that


def choose(base_dir: Path, *, device: str = "cpu") -> tuple[Precision, str]:
    """(precision, reason). On a CPU with native bf16 a training step of two layers of the base's
    shape, with random weights, is timed in both precisions (about a second)."""
    if device == "cuda":
        return "bf16", "The GPU computes in bf16; the adapter and its optimizer stay in fp32."
    flags = NATIVE_BF16_FLAGS & _cpu_flags()
    if not flags:
        return "fp32", "This processor has no bf16 arithmetic."
    full, half = _seconds(base_dir, "fp32"), _seconds(base_dir, "bf16")
    ratio = full / half
    name = ", ".join(sorted(flags))
    if ratio < WORTH_IT:
        return "fp32", f"Tried both: bf16 ({name}) is only {ratio:.1f} times as fast as fp32."
    return "bf16", (
        f"Tried both: bf16 ({name}) is {ratio:.1f} times as fast as fp32 here; the adapter and "
        "its optimizer stay in fp32."
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


def _seconds(base_dir: Path, precision: Precision) -> float:
    """The fastest of a few steps on a shallow copy of the base's shape, its head included."""
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    from finetune.trainer import attention
    from finetune.trainer.families import causal_lm
    from finetune.trainer.layout import Row, lay_out
    from finetune.trainer.objectives.sft import sft
    from finetune.trainer.spec import AdapterSpec

    config: Any = AutoConfig.from_pretrained(base_dir, trust_remote_code=False)
    config.num_hidden_layers = PROBE_LAYERS
    if getattr(config, "layer_types", None):
        config.layer_types = config.layer_types[:PROBE_LAYERS]
    with torch.random.fork_rng(devices=[]):
        base: Any = AutoModelForCausalLM.from_config(
            config, dtype=causal_lm.DTYPES[precision], attn_implementation=attention.NAME
        )
        model = causal_lm.attach(base, AdapterSpec(), seed=0)
    row = Row(range(1, 33), [i >= 16 for i in range(32)])
    layout = lay_out([row] * (PROBE_TOKENS // 32), share_prefixes=False)
    model.train(True)
    times = []
    for _ in range(PROBE_STEPS):
        start = time.perf_counter()
        sft(model, layout).loss.backward()
        times.append(time.perf_counter() - start)
    return min(times)


if __name__ == "__main__":
    precision, reason = choose(Path(sys.argv[1]))
    print(json.dumps({"precision": precision, "reason": reason}))
