"""Hyperparameters that were left to us ("auto"), resolved before the run, each with its reason."""

import math
from dataclasses import dataclass
from typing import Literal

Auto = Literal["auto"]

REFERENCE_RATE = 2e-4  # LoRA on 7 billion parameters (Dettmers et al. 2023, QLoRA)
REFERENCE_PARAMETERS = 7e9
RATE_EXPONENT = 0.4  # smaller bases bear more: 1e-3 proved right on 135 million
RATE_RANGE = (5e-5, 1e-3)
STEPS_PER_EPOCH = 100  # aimed at by the batch size
BATCH_RANGE = (4, 64)
ROWS_TO_SEE = 2400  # aimed at by the epochs: rows times epochs
MANY_ROWS = 20_000  # from here on one epoch may do


@dataclass(frozen=True)
class Requested:
    n_epochs: int | Auto = "auto"
    batch_size: int | Auto = "auto"
    learning_rate_multiplier: float | Auto = "auto"


@dataclass(frozen=True)
class Resolved:
    """`learning_rate` is the base's own rate times the multiplier; RunSpec takes that."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float


def resolve(
    *, rows: int, tokens: int, base_parameters: int, requested: Requested
) -> tuple[Resolved, dict[str, str]]:
    """(values, {name: one sentence}) for a data set of `rows` rows with `tokens` trained tokens."""
    reasons: dict[str, str] = {}
    batch = requested.batch_size
    if batch == "auto":
        batch = _batch_size(rows)
        reasons["batch_size"] = (
            f"{batch}: about {math.ceil(rows / batch)} steps an epoch from {rows} rows."
        )
    epochs = requested.n_epochs
    if epochs == "auto":
        epochs = _epochs(rows)
        reasons["n_epochs"] = (
            f"{epochs}: {rows} rows ({tokens} trained tokens) are seen "
            f"{'once' if epochs == 1 else f'{epochs} times'}; fewer rows are seen more often."
        )
    rate = base_rate(base_parameters)
    multiplier = requested.learning_rate_multiplier
    if multiplier == "auto":
        multiplier = 1.0
        reasons["learning_rate_multiplier"] = (
            f"1: the rate for {base_parameters / 1e6:.0f} million parameters, {rate:.1e}, as it is."
        )
    return Resolved(epochs, batch, float(multiplier), rate * multiplier), reasons


def base_rate(parameters: int) -> float:
    """The learning rate at multiplier 1 for a base of so many parameters."""
    rate = REFERENCE_RATE * (REFERENCE_PARAMETERS / parameters) ** RATE_EXPONENT
    return min(max(rate, RATE_RANGE[0]), RATE_RANGE[1])


def _batch_size(rows: int) -> int:
    """A power of two, so that equal files get equal settings however they were cut."""
    wish = max(1, rows // STEPS_PER_EPOCH)
    return min(max(1 << (wish.bit_length() - 1), BATCH_RANGE[0]), BATCH_RANGE[1])


def _epochs(rows: int) -> int:
    fewest = 1 if rows >= MANY_ROWS else 2
    return min(max(round(ROWS_TO_SEE / rows), fewest), 10)
