"""The sums of a step or of an evaluation, while its micro-batches go by, and their means."""

from collections.abc import Sequence

from finetune.trainer.objectives.contract import Objective, Sums


class Totals:
    def __init__(self, objective: Objective) -> None:
        self._objective = objective
        self.loss = 0.0
        self.weight: float = 0
        summed = [metric.name for metric in objective.metrics if metric.between is None]
        self._metrics = dict.fromkeys(summed, (0.0, 0.0))

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
        """By column, `train_loss` first; without those of which there was nothing."""
        return self._means(self._objective.train_columns)

    def valid_means(self) -> dict[str, float]:
        """By column, `valid_loss` first; without those of which there was nothing."""
        return self._means(self._objective.valid_columns)

    def _means(self, columns: Sequence[str]) -> dict[str, float]:
        found = {name: sum_ / by for name, (sum_, by) in self._metrics.items() if by}
        for metric in self._objective.metrics:
            if metric.between is not None and found.keys() >= set(metric.between):
                first, second = metric.between
                found[metric.name] = found[first] - found[second]
        means = {columns[0]: self.loss / self.weight}
        for metric, column in zip(self._objective.metrics, columns[1:], strict=True):
            if metric.name in found:
                means[column] = found[metric.name]
        return means
