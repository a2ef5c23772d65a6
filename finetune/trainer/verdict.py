"""Whether a run that came to its end has learnt anything: warnings beside its result, no failure.

What diverges to infinity ends a run (see loop.skip). What diverges and stays finite, as a rate far
too high makes of a model, trains to the end; the losses tell it. The rule and its reasons stand in
docs/explanation/training.md.
"""

from collections.abc import Sequence

from finetune.events import (
    BaseAtChance,
    LossAtChance,
    LossRose,
    Message,
    WorseThanBase,
    WorseThanStart,
)
from finetune.trainer.state import StepMetrics

LAST = 5  # a fifth of the steps is the end, ...
FEWEST = 3  # ... and at least so many: the rows of one step are not another's
NEAR = 0.99  # of the loss of guessing: a ruined model gives about that, from either side
RISE = 0.5  # nats; the mean losses of two batches of one file often differ by some tenths


def verdict(
    history: Sequence[StepMetrics],
    *,
    step: int,
    base_valid_loss: float | None,
    goes_on: bool = False,
    guessing: float | None,
) -> list[Message]:
    """Of the weights of `step`. Losses are in nats per trained token; `guessing` is that of a model
    that knows nothing, if it is known; `goes_on`: from another adapter, whose loss that of the base
    then is."""
    until = [metrics for metrics in history if metrics.step <= step]
    warned = _of_training([metrics for metrics in until if metrics.train], guessing)
    at_step = [metrics.valid_loss for metrics in until if metrics.step == step]
    valid_loss = at_step[0] if at_step else None
    if valid_loss is not None and base_valid_loss is not None and valid_loss > base_valid_loss:
        warned.append(
            WorseThanStart(valid_loss=valid_loss, start_valid_loss=base_valid_loss)
            if goes_on
            else WorseThanBase(valid_loss=valid_loss, base_valid_loss=base_valid_loss)
        )
    return warned


def _of_training(trained: Sequence[StepMetrics], guessing: float | None) -> list[Message]:
    """The first step's loss is the base's own: it is taken before anything is updated."""
    if len(trained) < 2:
        return []
    start = trained[0].train_loss
    last = trained[1:][-max(FEWEST, len(trained) // LAST) :]
    weights = [metrics.weight or 1.0 for metrics in last]
    losses = [metrics.train_loss for metrics in last]
    end = sum(loss * by for loss, by in zip(losses, weights, strict=True)) / sum(weights)
    if guessing is not None and end >= NEAR * guessing:
        if start >= NEAR * guessing:
            return [BaseAtChance(start_loss=start, end_loss=end, guessing_loss=guessing)]
        return [LossAtChance(end_loss=end, guessing_loss=guessing)]
    if end > start + RISE and min(losses) > start:
        return [LossRose(start_loss=start, end_loss=end)]
    return []
