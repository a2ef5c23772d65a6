"""A packed adapter on its base, loaded by plain peft, against what training wrote down."""

from pathlib import Path

import torch
from torch import Tensor

from finetune.families.adapters.packed import largest_gap, load_packed
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
    adapted = vectors(Embedder(load_packed(base, packed), recipe), probe.texts)
    return Difference(
        tokens=len(probe.input_ids),
        max_abs_diff=largest_gap(adapted, probe.adapted),
        base_diff=largest_gap(plain, probe.plain),
        moved=largest_gap(probe.adapted, probe.plain),
        same_top_token=_nearest(adapted, probe.adapted),
    )


def _nearest(found: Tensor, told: Tensor) -> bool:
    """Equal texts are as near as each other, so the distance is compared and not the number."""
    distances = torch.cdist(found.double(), told.double())
    return bool((distances.diagonal() <= distances.amin(1) + 1e-9).all())
