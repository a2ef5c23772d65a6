"""How likely one of several answers to a question passes, told from more answers than are counted
on: pass@k (Chen et al. 2021, arXiv:2107.03374, equation 1)."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

from finetune.grading.intervals import Interval
from finetune.grading.marks import interval

USUAL = (1, 2, 5, 10, 20)


@dataclass(frozen=True)
class PassAt:
    """`value`: the mean over questions; `interval`: its 95% one, None of a single question."""

    k: int
    value: float
    interval: Interval | None


def pass_at(answers: int, passed: int, k: int) -> float:
    """The share of all choices of `k` of the answers in which one or more passes: without bias,
    which 1 - (1 - passed / answers)^k has."""
    if not 0 <= passed <= answers or not 1 <= k <= answers:
        raise ValueError(f"{passed} of {answers} answers tell no pass@{k}")
    return 1 - math.comb(answers - passed, k) / math.comb(answers, k)


def estimates(answers: int, passed: Sequence[int]) -> list[PassAt]:
    """`passed`: of each question, how many of its answers."""
    found = []
    for k in sorted({*(k for k in USUAL if k < answers), answers}):
        values = [pass_at(answers, each, k) for each in passed]
        found.append(PassAt(k, sum(values) / len(values), interval(values)))
    return found
