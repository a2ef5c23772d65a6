"""Writes docs/reference/settings-together.md from the tables of what goes with what."""

import sys
from itertools import combinations
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
TARGET = ROOT / "docs" / "reference" / "settings-together.md"

HEAD = """# What goes with what

Made from `finetune/trainer/together.py` and `finetune/services/jobs/request.py` by
`scripts/together_table.py`. A test trains each cell of the first table and each pair of settings
that the others do not name, on a CPU, and has those that they name refused. What stands under
`cuda` follows from the same code, and was not tried on a GPU.

What a setting does: [training](../explanation/training.md).

## Settings, methods and devices

*yes*: as asked. A number: what it says below gives way, and the result is in order.

"""
YIELDINGS = """
## Where one gives way

| | where | and | then |
|---|---|---|---|
"""
CLASHES = """
## Refused together

| | and | code | why | what to do |
|---|---|---|---|---|
"""
DEVICES = """
## Devices

`cpu` trains in fp32, or bf16 where that is faster; `cuda` in bf16 from compute capability 8.0 on,
else in fp32. A run that began on a GPU goes on with one (`no_gpu`, `no_bf16`: it is given back for
another worker). `deterministic` on a GPU takes the slower deterministic backward of attention.
Training on 4-bit bases (QLoRA) and of all weights is not offered.
"""


def page() -> str:
    sys.path[:0] = [str(ROOT), str(ROOT / "platform")]
    from finetune.services.jobs.request import REQUEST_CLASHES
    from finetune.trainer import together
    from finetune.trainer.objectives import METHODS

    def cell(spec: object) -> str:
        if any(clash.holds(spec) for clash in (*together.CLASHES, *together.OF_FAMILIES)):
            return "refused"
        held = [str(n) for n, each in enumerate(together.YIELDINGS, 1) if each.holds(spec)]
        return "yes" + (f" ({', '.join(held)})" if held else "")

    columns = [
        (name, {"objective": each.name, "family": each.family}) for name, each in METHODS.items()
    ]
    columns += [(device, {"device": device}) for device in ("cpu", "cuda")]
    table = "| setting | " + " | ".join(name for name, _ in columns) + " |\n"
    table += "|---" * (len(columns) + 1) + "|\n"
    for way in together.WAYS:
        cells = [cell(together.with_ways(way, **more)) for _, more in columns]
        table += f"| `{way.name}` | " + " | ".join(cells) + " |\n"
    yieldings = "".join(
        f"| {number} | `{each.settings[0]}` | `{each.settings[1]}` | {each.told} |\n"
        for number, each in enumerate(together.YIELDINGS, 1)
    )
    clashes = "".join(
        f"| `{each.settings[0]}` | `{each.settings[1]}` | `{each.code}` | {each.reason} | "
        f"{each.fix} |\n"
        for each in (*together.CLASHES, *together.OF_FAMILIES, *REQUEST_CLASHES)
    )
    pairs = sum(1 for _ in combinations(together.WAYS, 2))
    tried = f"\nPairs of these settings: {pairs}. Those not named below go together.\n"
    return HEAD + table + tried + YIELDINGS + yieldings + CLASHES + clashes + DEVICES


if __name__ == "__main__":
    TARGET.write_text(page(), encoding="utf-8")
