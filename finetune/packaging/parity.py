"""Do the packed files compute what was trained? Asked before anything is signed.

Training writes down what it says at a few places (`probes.safetensors`), from the adapter in its
memory. Here plain peft loads the files that go out, in another process, and is asked the same.
"""

from dataclasses import asdict
from pathlib import Path

from safetensors import SafetensorError
from safetensors.torch import load_file

from faults import OurFault, UserFault
from finetune.families import family
from finetune.families.contract import PROBES, Difference, Precision
from finetune.packaging.passport import Parity

# Nats. Both ways compute in float32 (float64 where training does) whatever the weights are stored
# in, and differ by the order of their sums: with SmolLM2-135M, in fp32 and bf16, by 3e-5 without an
# adapter and by 1e-4 with one that moves its answers by 28.
FLOOR = 1e-3
# By family, where vectors are compared: of a component
MEASURES = {
    "embedding": (1e-4, "in a vector's component"),
    "scoring": (FLOOR, "of a score"),
    "reranking": (FLOOR, "of a score before its sigmoid"),
}
# How much further apart they may be with an adapter than without: it makes activations larger
NOISE_FACTOR = 8
# A base whose own answers differ so much is another base, or another code
BASE_LIMIT = 1e-2


def compare_adapters(
    family_name: str, base_dir: Path, trained: Path, packed: Path, precision: Precision
) -> Parity:
    """What training left in `trained` against `packed`.

    OurFault `parity_failed` when they differ by more than rounding. UserFault `adapter_unchanged`
    when training moved nothing: a finding about the run.
    """
    try:
        told = load_file(trained / PROBES)
    except (OSError, SafetensorError) as error:
        text = f"What training said of its adapter cannot be read: {error}"
        raise OurFault("parity_failed", text, where=str(trained)) from error
    found = family(family_name).compare(base_dir, packed, told, precision=precision)
    floor, unit = MEASURES.get(family_name, (FLOOR, "nats"))
    if reason := _reason(found, floor, unit):
        raise OurFault("parity_failed", reason, where=str(packed))
    if found.moved == 0:
        raise UserFault(
            "adapter_unchanged",
            "The training left the model as it was: the adapter changes none of its answers.",
            param="learning_rate_multiplier",
            fix="Train for more steps (epochs, or a smaller batch size), or with a higher learning "
            "rate multiplier.",
        )
    return Parity(**asdict(found))


def _reason(found: Difference, floor: float, unit: str) -> str | None:
    if not found.base_diff <= BASE_LIMIT:  # NaN fails too
        return (
            f"The base alone answers otherwise than in training, by {found.base_diff:.3g} {unit}."
        )
    allowed = max(floor, NOISE_FACTOR * found.base_diff)
    if not found.max_abs_diff <= allowed:
        return (
            f"The packed adapter answers otherwise than the trained one, by "
            f"{found.max_abs_diff:.3g} {unit}; rounding explains {allowed:.3g}."
        )
    return None
