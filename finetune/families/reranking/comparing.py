"""A packed adapter on its base, loaded by plain peft, against what training wrote down."""

from pathlib import Path

from torch import Tensor

from finetune.families.adapters.packed import largest_gap, load_packed
from finetune.families.contract import Difference, Precision
from finetune.families.embedding.loading import DTYPES
from finetune.families.reranking.loading import load_base
from finetune.families.reranking.probing import Probe, logits
from finetune.families.reranking.ranker import Ranker
from finetune.records.ranking import read_ranking


def compare(
    base_dir: Path, packed: Path, told: dict[str, Tensor], *, precision: Precision
) -> Difference:
    """Differences are of logits. `same_top_token`: the pair scored highest is the one that was."""
    probe, ranking = Probe(**told), read_ranking(base_dir)
    base = load_base(base_dir, dtype=DTYPES[precision]).eval()
    plain = logits(Ranker(base, ranking), probe.pairs)
    adapted = logits(Ranker(load_packed(base, packed), ranking), probe.pairs)
    return Difference(
        tokens=len(probe.input_ids),
        max_abs_diff=largest_gap(adapted, probe.adapted),
        base_diff=largest_gap(plain, probe.plain),
        moved=largest_gap(probe.adapted, probe.plain),
        same_top_token=bool(adapted.argmax() == probe.adapted.argmax()),
    )
