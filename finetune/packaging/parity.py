"""Do the packed weights compute what training left? Logits compared before anything is signed."""

from dataclasses import asdict
from pathlib import Path

from faults import OurFault
from finetune.families import family
from finetune.packaging.passport import Parity

# the same numbers through the same code on the same machine: expected is exactly 0
TOLERANCE = 1e-4


def compare_adapters(family_name: str, base_dir: Path, reference: Path, packed: Path) -> Parity:
    """Logits of base + `reference` against base + `packed`, loaded as a customer will.

    OurFault `parity_failed` when they differ by more than `TOLERANCE` or the adapter does not reach
    the base, as when its tensor names no longer fit and peft ignores them. UserFault
    `adapter_unchanged` when it does and changes nothing: a finding about the run.
    """
    parity = Parity(**asdict(family(family_name).compare(base_dir, reference, packed)))
    if not parity.max_abs_diff <= TOLERANCE:  # NaN fails too
        raise OurFault(
            "parity_failed",
            f"The packed adapter's logits differ by {parity.max_abs_diff:.3g} from training's.",
            where=str(packed),
        )
    if parity.moved == 0:
        raise OurFault(
            "parity_failed",
            "The adapter changes nothing: its tensors do not reach the base.",
            where=str(packed),
        )
    return parity
