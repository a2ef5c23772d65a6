"""A reward model as it is trained: a causal language model's body with an adapter, and a head that
reads one number off each sequence's last token."""

import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor, nn

from finetune.families.causal_lm.adapted import CausalLM
from finetune.families.causal_lm.adapted import load as load_causal
from finetune.families.causal_lm.layout import Layout, Row
from finetune.families.contract import AdapterSpec, Device, Precision
from finetune.families.layers import SCORE
from finetune.families.scored import require_scored
from finetune.families.scoring.head import fresh_head, with_head
from finetune.families.scoring.probing import Probe
from finetune.families.widening import widened


class ScoringLM(CausalLM):
    """Adapter and head are trained; what it began with is a plain base under the head as drawn, or
    both as they were given."""

    def __init__(self, causal: CausalLM, head: nn.Parameter) -> None:
        trained = with_head(causal.trained, head)
        super().__init__(causal.inner, causal.switch, trained, causal.noise)
        self.score = head
        self._first = head.detach().clone()
        self._local = threading.local()  # lanes ask in threads of their own

    def scores(self, layout: Layout) -> Tensor:
        """[rows], float32 or wider: of each row, read off its last token."""
        last = torch.tensor([path[-1] for path in layout.paths], device=self.head.device)
        hidden = self.hidden(layout).index_select(0, last)
        return self._scored(hidden.to(self.score.dtype))

    def _scored(self, hidden: Tensor) -> Tensor:
        head = getattr(self._local, "head", None)
        weight = self.score if head is None else head
        return (hidden @ weight.to(hidden.dtype).t()).squeeze(-1)

    @contextmanager
    def as_begun(self) -> Iterator[None]:
        self._local.head = self._first
        try:
            with super().as_begun():
                yield
        finally:
            self._local.head = None

    def begin_from(self, state: dict[str, Tensor]) -> None:
        """A model that writes has no head yet: its adapter goes on, and the head is as drawn."""
        super().begin_from({SCORE: self.score.detach().cpu(), **state})
        self._first = self.score.detach().clone()

    @torch.no_grad()
    def probe(self, rows: Sequence[Row]) -> dict[str, Tensor]:
        """How it scores a few of these rows, for `comparing.compare`."""
        self.train(False)

        def adapted(tokens: list[int]) -> Tensor:
            layout = self.lay_out([Row(tokens, [False] * len(tokens))], share_prefixes=False)
            with widened(self.body):
                return self._scored(self.hidden(layout)[-1:])

        def plain(tokens: list[int]) -> Tensor:
            with self.without_adapter():
                return adapted(tokens)

        return Probe.taken([row.input_ids for row in rows], adapted, plain).tensors()


def load(
    base_dir: Path,
    adapter: AdapterSpec,
    *,
    precision: Precision,
    device: Device,
    seed: int,
    gradient_checkpointing: bool = False,
    noise_alpha: float = 0.0,
) -> ScoringLM:
    """As a causal language model is loaded, with a fresh, seeded head besides. Raises UserFault
    `base_without_score` for an architecture that stock transformers could not score with."""
    require_scored(base_dir)
    causal = load_causal(
        base_dir,
        adapter,
        precision=precision,
        device=device,
        seed=seed,
        gradient_checkpointing=gradient_checkpointing,
        noise_alpha=noise_alpha,
    )
    return ScoringLM(causal, fresh_head(causal.inner, causal.trained, seed=seed))
