"""A packed adapter on its base, loaded by plain peft, against what training wrote down."""

import warnings
from pathlib import Path
from typing import Any

import torch
from peft import PeftModel
from torch import Tensor

from faults import OurFault
from finetune.families.contract import Difference, Precision
from finetune.families.embedding.embedder import Embedder
from finetune.families.embedding.loading import DTYPES, load_base
from finetune.families.embedding.probing import Probe, vectors
from finetune.records.recipe import read_recipe


def compare(
    base_dir: Path, packed: Path, told: dict[str, Tensor], *, precision: Precision
) -> Difference:
    """Differences are of vectors' components. `same_top_token`: each text is, among the probe's,
    the nearest to itself as trained."""
    probe, recipe = Probe(**told), read_recipe(base_dir)
    base = load_base(base_dir, dtype=DTYPES[precision]).eval()
    plain = vectors(Embedder(base, recipe), probe.texts)
    adapted = vectors(Embedder(_loaded(base, packed), recipe), probe.texts)
    return Difference(
        tokens=len(probe.input_ids),
        max_abs_diff=_gap(adapted, probe.adapted),
        base_diff=_gap(plain, probe.plain),
        moved=_gap(probe.adapted, probe.plain),
        same_top_token=_nearest(adapted, probe.adapted),
    )


def _loaded(base: Any, packed: Path) -> Any:
    """peft leaves tensors that it misses as they were made, and only warns."""
    with warnings.catch_warnings():
        warnings.filterwarnings("error", message="Found missing adapter keys")
        try:
            return PeftModel.from_pretrained(base, packed).eval()
        except (UserWarning, RuntimeError) as error:  # RuntimeError: another shape
            text = f"peft does not find its tensors in the packed adapter: {error}"
            raise OurFault("parity_failed", text, where=str(packed)) from error


def _nearest(found: Tensor, told: Tensor) -> bool:
    """Equal texts are as near as each other, so the distance is compared and not the number."""
    distances = torch.cdist(found.double(), told.double())
    return bool((distances.diagonal() <= distances.amin(1) + 1e-9).all())


def _gap(one: Tensor, other: Tensor) -> float:
    return float((one - other).abs().max())
