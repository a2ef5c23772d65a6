"""Hyperparameters that were left to us ("auto"), resolved before the run, each with its reason."""

import math
from dataclasses import dataclass
from typing import Literal

from finetune.events import (
    BatchSizeChosen,
    Choice,
    EpochsChosen,
    LearningRateChosen,
    OneEpochChosen,
)

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
) -> tuple[Resolved, list[Choice]]:
    """(values, what was chosen and why) for `rows` rows with `tokens` trained tokens."""
    choices: list[Choice] = []
    batch = requested.batch_size
    if batch == "auto":
        batch = _batch_size(rows)
        steps = math.ceil(rows / batch)
        choices.append(BatchSizeChosen(batch_size=batch, rows=rows, steps=steps))
    epochs = requested.n_epochs
    if epochs == "auto":
        epochs = _epochs(rows)
        choices.append(
            OneEpochChosen(rows=rows, trained_tokens=tokens)
            if epochs == 1
            else EpochsChosen(n_epochs=epochs, rows=rows, trained_tokens=tokens)
        )
    rate = base_rate(base_parameters)
    multiplier = requested.learning_rate_multiplier
    if multiplier == "auto":
        multiplier = 1.0
        millions = round(base_parameters / 1e6)
        choices.append(LearningRateChosen(million_parameters=millions, learning_rate=rate))
    return Resolved(epochs, batch, float(multiplier), rate * multiplier), choices


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
