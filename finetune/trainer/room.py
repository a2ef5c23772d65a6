"""How a training fits into the memory that its machine has free: gradient checkpointing, and the
tokens that stand in memory at once. Chosen where a run is first claimed, and kept with it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Literal

from finetune.events import (
    CheckpointingOff,
    CheckpointingOn,
    Choice,
    MemoryTight,
    Message,
    MicroBatchChosen,
)
from finetune.families.contract import Device

MOST_TOKENS: dict[Device, int] = {"cpu": 2048, "cuda": 8192}  # more brings no speed
PLENTY = 4  # a fourth of these is still faster than checkpointing, which computes a third more
LEAST_TOKENS = 256
USABLE = 0.85  # of what is free: the rest is for what the formula leaves out

Need = Callable[[int, bool], int]
"""(tokens at once, with checkpointing) -> bytes."""


@dataclass(frozen=True)
class Wish:
    """What the request says of both."""

    gradient_checkpointing: bool | Literal["auto"] = "auto"
    micro_batch_tokens: int | Literal["auto"] = "auto"


@dataclass(frozen=True)
class Fit:
    gradient_checkpointing: bool
    micro_batch_tokens: int


def fit(
    need: Need,
    *,
    free: int,
    longest: int,
    wish: Wish,
    device: Device,
    of_step: int | None = None,
) -> tuple[Fit, list[Message]]:
    """The fastest that fits into `free` bytes, and why; the least where nothing does. `longest`:
    tokens of the longest row, which is in memory whole whatever the choice. `of_step`: tokens of a
    whole step; where they fill no micro-batch and memory is no matter, what is told to be needed is
    what they need, as an estimate tells it."""
    ways = list(_fastest_first(wish, longest, MOST_TOKENS[device]))

    def needed(way: Fit) -> int:
        return need(max(way.micro_batch_tokens, longest), way.gradient_checkpointing)

    def taken(way: Fit) -> int:
        tokens = min(way.micro_batch_tokens, of_step or way.micro_batch_tokens)
        return need(max(tokens, longest), way.gradient_checkpointing)

    fitting = (way for way in ways if needed(way) <= USABLE * free)
    chosen = next(fitting, ways[-1])
    told = needed if chosen.gradient_checkpointing else taken
    said: list[Message] = list(_reasons(chosen, ways[0], told, free, wish))
    if needed(chosen) > USABLE * free:
        said.append(MemoryTight(need_mb=_mb(needed(chosen)), free_mb=_mb(free)))
    return chosen, said


def _fastest_first(wish: Wish, longest: int, most: int) -> Iterator[Fit]:
    asked = wish.micro_batch_tokens
    sizes = halvings(most, longest) if asked == "auto" else [asked]
    if wish.gradient_checkpointing != "auto":
        yield from (Fit(wish.gradient_checkpointing, size) for size in sizes)
        return
    yield from (Fit(False, s) for s in sizes if asked != "auto" or s >= most // PLENTY)
    yield from (Fit(True, size) for size in sizes)


def halvings(tokens: int, longest: int) -> list[int]:
    """`tokens` and its halves, as long as a row of `longest` tokens goes into one; fewer tokens
    than that would save nothing."""
    found = [tokens]
    while (half := found[-1] // 2) >= max(longest, LEAST_TOKENS):
        found.append(half)
    return found


def _reasons(
    chosen: Fit, fastest: Fit, needed: Callable[[Fit], int], free: int, wish: Wish
) -> Iterator[Choice]:
    need_mb, free_mb = _mb(needed(chosen)), _mb(free)
    if wish.gradient_checkpointing == "auto":
        if chosen.gradient_checkpointing:
            without = _mb(needed(fastest))
            yield CheckpointingOn(need_mb=need_mb, without_mb=without, free_mb=free_mb)
        else:
            yield CheckpointingOff(need_mb=need_mb, free_mb=free_mb)
    if wish.micro_batch_tokens == "auto":
        yield MicroBatchChosen(
            micro_batch_tokens=chosen.micro_batch_tokens, need_mb=need_mb, free_mb=free_mb
        )


def less(fit: Fit, *, longest: int, wish: Wish) -> Fit | None:
    """What takes the least memory of all that was left to us; None: it is that already."""
    tokens = fit.micro_batch_tokens
    least = Fit(
        True if wish.gradient_checkpointing == "auto" else fit.gradient_checkpointing,
        halvings(tokens, longest)[-1] if wish.micro_batch_tokens == "auto" else tokens,
    )
    return None if least == fit else least


def _mb(size: int) -> int:
    return size >> 20
