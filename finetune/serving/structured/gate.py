"""Where in an answer its grammar holds: behind the thought, if there is one."""

from torch import Tensor

from finetune.records.thinking import OPEN
from finetune.serving.structured.grammar import Constraint
from finetune.serving.thoughts import ThoughtReader


class Gate:
    """One choice's constraint. While it thinks, everything goes but the end of the turn.

    `opening`: the token that begins a thought, which may come first where `thoughts` says so.
    """

    def __init__(
        self,
        constraint: Constraint,
        thoughts: ThoughtReader | None,
        opening: int | None,
        stops: frozenset[int],
    ) -> None:
        self._constraint = constraint
        self._thoughts = thoughts
        self._opening = opening
        self._stops = sorted(stops)

    @property
    def over(self) -> bool:
        return self._thoughts is None and self._constraint.over

    def mask(self, logits: Tensor) -> None:
        """logits [vocab] in place. Raises UserFault `schema_too_complex`."""
        if self._thoughts is None:
            self._constraint.mask(logits)
        elif self._thoughts.inside:
            logits[self._stops] = -float("inf")
        else:
            wanted = None if self._opening is None else logits[self._opening].clone()
            self._constraint.mask(logits)
            if wanted is not None:
                logits[self._opening] = wanted

    def accept(self, token: int, text: str) -> None:
        """`text`: what of the answer's text the token completed. Raises UserFault
        `schema_too_complex`."""
        if self._thoughts is None:
            self._constraint.accept(token)
        elif self._thoughts.inside:
            said, _ = self._thoughts.push(text)
            if not self._thoughts.inside:
                self._thoughts = None
                self._constraint.accept_text(said.strip())
        elif token == self._opening:
            self._thoughts.push(OPEN)
        else:
            self._thoughts = None
            self._constraint.accept(token)
