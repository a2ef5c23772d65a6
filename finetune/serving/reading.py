"""Prompts that are being read, piece by piece, in a batch of their own."""

from collections.abc import Iterator

from torch import Tensor

from finetune.serving.bases import Base
from finetune.serving.prompt import Prompt, over
from finetune.serving.sampling import score


class Reading:
    """`budget` tokens are read at once. `scored`: every position's logits are looked at, so that
    pieces are smaller and such prompts are not read among the others."""

    def __init__(self, base: Base, budget: int, *, scored: bool) -> None:
        self.prompts: list[Prompt] = []
        self.cache = base.model.new_cache()
        self.scored = scored
        self._base = base
        self._budget = budget

    def join(self, prompt: Prompt) -> None:
        self.prompts.append(prompt)
        self.cache.lengths.append(0)

    def leave(self, at: int) -> None:
        self.cache.drop(at)
        self.prompts[at] = self.prompts[-1]
        self.prompts.pop()

    def drop_done(self) -> None:
        for at in reversed(range(len(self.prompts))):
            if over(self.prompts[at].ticket):
                self.leave(at)

    def read(self) -> Iterator[tuple[int, int, Tensor]]:
        """Read a piece of each; (place, tokens read, logits [vocab] after the last of them), from
        the last place to the first, so that the one just told may leave."""
        width = max(1, self._budget // len(self.prompts))
        pieces = [p.ids[p.read : p.read + width] for p in self.prompts]
        adapters = [p.ticket.adapter for p in self.prompts]
        logits = self._base.model.forward(self.cache, pieces, adapters, every_position=self.scored)
        for at in reversed(range(len(pieces))):
            prompt, count = self.prompts[at], len(pieces[at])
            prompt.read += count
            if self.scored:
                _score(prompt, logits[at], count)
            yield at, count, logits[at, count - 1] if self.scored else logits[at]


def _score(prompt: Prompt, logits: Tensor, count: int) -> None:
    """logits [width, vocab] of the piece just read, each position predicting the next."""
    if not prompt.fresh:
        return
    following = prompt.ids[prompt.read - count + 1 : prompt.read + 1]
    if following:
        top = prompt.ticket.request.top_logprobs
        prompt.scores += score(logits[: len(following)], following, top)
