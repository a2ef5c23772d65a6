"""Each step's figures, out of events.jsonl, where they stand once. A checkpoint does not hold them:
it holds how many there are and their digest, so its size does not grow with the steps.

What was told first stands. A step that is done again after a crash gives the same bits on the same
machine; on another its last bits may differ, and its figures are those that everybody has seen.
"""

import hashlib
import json
from collections import deque
from collections.abc import Iterable, Sequence

from finetune.trainer.state import StepMetrics, Told


class History:
    def __init__(
        self, told: Iterable[StepMetrics] = (), before: Sequence[StepMetrics] = ()
    ) -> None:
        """`told`: out of the log, ascending, maybe beyond the step that the run is at. `before`: of
        a state that an older version wrote, which held its figures itself."""
        since = before[-1].step if before else 0
        self.steps = list(before)
        self._ahead = deque(metrics for metrics in told if metrics.step > since)
        self._count = 0
        self._digest = hashlib.sha256()

    @property
    def last(self) -> StepMetrics | None:
        return self.steps[-1] if self.steps else None

    @property
    def told(self) -> Told:
        """What a checkpoint is to hold of it."""
        return Told(steps=self._count, sha256=self._digest.hexdigest())

    def add(self, metrics: StepMetrics) -> None:
        """A step that is told for the first time."""
        self._ahead.append(metrics)

    def go_to(self, step: int) -> None:
        """The run is at `step`, whose figures have been told if it has any."""
        while self._ahead and self._ahead[0].step <= step:
            self._take(self._ahead.popleft())

    def goes_on_from(self, told: Told, step: int) -> bool:
        """Goes to `step`; whether all that was told until then is what `told` was taken of."""
        self.go_to(step)
        return self.told == told

    def _take(self, metrics: StepMetrics) -> None:
        self.steps.append(metrics)
        self._count += 1
        line = json.dumps(metrics.model_dump(), sort_keys=True, allow_nan=False) + "\n"
        self._digest.update(line.encode())
