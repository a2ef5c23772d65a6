"""NEFTune's noise is transformers', row by row."""

import math
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from transformers.integrations.neftune import neftune_post_forward_hook

from finetune.families.causal_lm import adapted
from finetune.families.causal_lm.layout import lay_out
from finetune.families.causal_lm.noise import EmbeddingNoise
from finetune.families.contract import AdapterSpec
from tests.finetune.trainer.runs import chat_rows, encoded

ALPHA = 5.0


def test_each_row_gets_what_transformers_adds_to_it_alone(tiny_base: Path) -> None:
    rows = encoded(tiny_base, chat_rows(3))
    layout = lay_out(rows, share_prefixes=False)
    ours, theirs = nn.Embedding(4096, 16), nn.Embedding(4096, 16)
    theirs.load_state_dict(ours.state_dict())
    noise = EmbeddingNoise(ours, ALPHA)
    theirs.neftune_noise_alpha = ALPHA  # type: ignore[assignment]
    theirs.register_forward_hook(neftune_post_forward_hook)
    torch.manual_seed(11)
    with noise.over(layout):
        together: Tensor = ours(layout.input_ids)
    torch.manual_seed(11)
    alone = torch.cat([theirs(torch.tensor([list(row.input_ids)])) for row in rows], dim=1)
    torch.testing.assert_close(together, alone, rtol=0, atol=1e-7)
    plain = nn.functional.embedding(layout.input_ids, ours.weight)
    for part, row in zip(
        (together - plain).split([len(row) for row in rows], dim=1), rows, strict=True
    ):
        bound = ALPHA / math.sqrt(len(row) * 16)
        assert 0.9 * bound < float(part.abs().max()) <= bound * (1 + 1e-5)


@pytest.mark.parametrize("alpha", [0.0, ALPHA])
def test_noise_is_of_training_alone(tiny_base: Path, alpha: float) -> None:
    model = adapted.load(
        tiny_base, AdapterSpec(r=2), precision="fp32", device="cpu", seed=1, noise_alpha=alpha
    )
    layout = model.lay_out(encoded(tiny_base, chat_rows(2)), share_prefixes=False)
    model.train(False)
    with torch.no_grad():
        quiet = [model.hidden(layout) for _ in range(2)]
        model.train(True)
        loud = [model.hidden(layout) for _ in range(2)]
    assert torch.equal(*quiet)
    assert torch.equal(quiet[0], loud[0]) == torch.equal(*loud) == (alpha == 0.0)
