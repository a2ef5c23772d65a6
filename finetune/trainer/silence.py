"""Whether most prompts of a training by rewards teach nothing, since all answers of each earned the
same: a warning while it runs, for whoever can stop it."""

from collections.abc import Sequence

from finetune.events import GroupsSilent
from finetune.trainer.state import StepMetrics

DRAWS = 5  # in a row: one step's prompts are not another's
MOST = 0.5  # of a step's prompts


def silent_groups(history: Sequence[StepMetrics], iterations: int) -> GroupsSilent | None:
    """Once for each stretch of such steps, at the last of the first DRAWS. `iterations`: steps that
    learn from the same answers, of which the first told counts."""
    if not history or not history[-1].train:
        return None
    seen: dict[int, StepMetrics] = {}
    for metrics in reversed(history):
        if metrics.train:
            seen[(metrics.step - 1) // iterations] = metrics
        if len(seen) > DRAWS + 1:
            break
    draws = list(seen.values())[: DRAWS + 1]  # the newest first
    silent = [each.train["train_silent_groups"] > MOST for each in draws]
    if len(silent) < DRAWS or not all(silent[:DRAWS]) or all(silent[DRAWS:] or [False]):
        return None
    if draws[0].step != history[-1].step:
        return None
    found = draws[:DRAWS]
    return GroupsSilent(
        steps=DRAWS,
        silent_groups=sum(each.train["train_silent_groups"] for each in found) / DRAWS,
        reward=sum(each.train["train_reward"] for each in found) / DRAWS,
    )
