"""Hyperparameters that were left to us ("auto"), resolved before the run, each with its reason."""

import math
from dataclasses import dataclass
from typing import Literal

from finetune.events import (
    BatchSizeChosen,
    BatchSizeOfPacks,
    BatchSizeOfRows,
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
class Packs:
    """What packing makes of the rows: `count` packs of `tokens` tokens in all. `counted`: that
    number is exact, and not the fewest that can hold the tokens."""

    count: int
    tokens: int
    counted: bool = True


@dataclass(frozen=True)
class Resolved:
    """`learning_rate` is the base's own rate times the multiplier; RunSpec takes that."""

    n_epochs: int
    batch_size: int
    learning_rate_multiplier: float
    learning_rate: float


def resolve(
    *,
    rows: int,
    tokens: int,
    base_parameters: int,
    requested: Requested,
    packs: Packs | None = None,
    rate: float = 1.0,
) -> tuple[Resolved, list[Choice]]:
    """(values, what was chosen and why) for `rows` rows with `tokens` trained tokens, which are
    laid into `packs` if there are any: `batch_size` then counts those. `rate`: of the base's own
    learning rate, what suits the objective."""
    choices: list[Choice] = []
    batch = requested.batch_size
    if batch == "auto":
        batch, chosen = _batch_size(rows) if packs is None else _packs_a_step(rows, packs)
        choices.append(chosen)
    epochs = requested.n_epochs
    if epochs == "auto":
        epochs = _epochs(rows)
        choices.append(
            OneEpochChosen(rows=rows, trained_tokens=tokens)
            if epochs == 1
            else EpochsChosen(n_epochs=epochs, rows=rows, trained_tokens=tokens)
        )
    rate *= base_rate(base_parameters)
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


def _rows_a_step(rows: int) -> int:
    """A power of two, so that equal files get equal settings however they were cut."""
    wish = max(1, rows // STEPS_PER_EPOCH)
    return min(max(1 << (wish.bit_length() - 1), BATCH_RANGE[0]), BATCH_RANGE[1])


def _batch_size(rows: int) -> tuple[int, Choice]:
    batch = _rows_a_step(rows)
    steps = math.ceil(rows / batch)
    return batch, BatchSizeOfRows(batch_size=batch, rows=rows, steps=steps)


def _packs_a_step(rows: int, packs: Packs) -> tuple[int, Choice]:
    """A step of packs holds about as many tokens as one of rows would, so that packing changes how
    rows stand in memory and not how often the model is updated."""
    batch = max(1, round(_rows_a_step(rows) * packs.count / rows))
    steps = math.ceil(packs.count / batch)
    if not packs.counted:
        return batch, BatchSizeChosen(batch_size=batch, rows=rows, steps=steps)
    return batch, BatchSizeOfPacks(
        batch_size=batch,
        rows=rows,
        packs=packs.count,
        steps=steps,
        tokens_per_step=round(packs.tokens / steps),
    )


def _epochs(rows: int) -> int:
    fewest = 1 if rows >= MANY_ROWS else 2
    return min(max(round(ROWS_TO_SEE / rows), fewest), 10)
