"""The sums of a step or of an evaluation, while its micro-batches go by, and their means."""

from finetune.trainer.objectives.contract import Objective, Sums


class Totals:
    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.loss = 0.0
        self.weight: float = 0
        self._metrics = {metric.name: (0.0, 0.0) for metric in objective.metrics}

    def add(self, sums: Sums) -> None:
        """Raises ValueError for other metrics than the objective declares."""
        if sums.metrics.keys() != self._metrics.keys():
            given, declared = sorted(sums.metrics), sorted(self._metrics)
            raise ValueError(f"{self._objective.name} measured {given}, but declares {declared}")
        self.loss += float(sums.loss.detach())
        self.weight += sums.weight
        for name, (total, weight) in sums.metrics.items():
            before, divisor = self._metrics[name]
            self._metrics[name] = (before + float(total.detach()), divisor + weight)

    def train_means(self) -> dict[str, float]:
        """By column, `train_loss` first."""
        return dict(zip(self._objective.train_columns, self._means(), strict=True))

    def valid_means(self) -> dict[str, float]:
        """By column, `valid_loss` first."""
        return dict(zip(self._objective.valid_columns, self._means(), strict=True))

    def _means(self) -> list[float]:
        return [self.loss / self.weight, *(sum_ / by for sum_, by in self._metrics.values())]
