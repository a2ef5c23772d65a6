"""What a machine's free memory makes of gradient checkpointing and micro-batches."""

import pytest

from finetune.trainer.room import Fit, Wish, fit, halvings, less

LONGEST = 300


def need(tokens: int, checkpointing: bool) -> int:
    """1000 for the weights, and a tenth of the activations with checkpointing."""
    return (1000 + tokens * (1 if checkpointing else 10)) << 20


def chosen(free_mb: int, wish: Wish = Wish(), longest: int = LONGEST) -> tuple[Fit, list[str]]:
    found, said = fit(need, free=free_mb << 20, longest=longest, wish=wish, device="cpu")
    return found, [each.code for each in said]


@pytest.mark.parametrize(
    ("free_mb", "found"),
    [
        (30_000, Fit(False, 2048)),
        (15_000, Fit(False, 1024)),
        (8_000, Fit(False, 512)),
        (6_000, Fit(True, 2048)),
        (2_500, Fit(True, 1024)),
        (2_000, Fit(True, 512)),
    ],
)
def test_the_fastest_that_fits_is_taken(free_mb: int, found: Fit) -> None:
    switch = "checkpointing_on" if found.gradient_checkpointing else "checkpointing_off"
    assert chosen(free_mb) == (found, [switch, "micro_batch_chosen"])
    assert need(found.micro_batch_tokens, found.gradient_checkpointing) <= free_mb << 20


@pytest.mark.parametrize(
    ("of_step", "told"), [(600, 7000), (300, 4000), (9000, 21480), (None, 21480)]
)
def test_a_step_that_fills_no_micro_batch_is_told_with_the_memory_that_it_takes(
    of_step: int | None, told: int
) -> None:
    """As an estimate tells it; the choice is the same."""
    found, said = fit(
        need, free=30_000 << 20, longest=LONGEST, wish=Wish(), device="cpu", of_step=of_step
    )
    assert found == Fit(False, 2048)
    assert {each.model_dump()["need_mb"] for each in said} == {told}


def test_where_nothing_fits_the_least_is_tried_and_told() -> None:
    found, codes = chosen(1_000)
    assert (found, codes[-1]) == (Fit(True, 512), "memory_tight")


def test_a_row_that_is_longer_than_a_micro_batch_counts_whole() -> None:
    assert chosen(30_000, longest=8000)[0] == Fit(True, 2048)


def test_what_was_asked_for_stays() -> None:
    assert chosen(2_000, Wish(False, 4096)) == (Fit(False, 4096), ["memory_tight"])
    assert chosen(2_000, Wish(False)) == (
        Fit(False, 512),
        ["micro_batch_chosen", "memory_tight"],
    )
    assert chosen(30_000, Wish(True))[0] == Fit(True, 2048)
    assert chosen(2_000, Wish(micro_batch_tokens=600)) == (Fit(True, 600), ["checkpointing_on"])


def test_less_is_all_that_was_left_to_us_down_to_the_longest_row() -> None:
    assert halvings(2048, LONGEST) == [2048, 1024, 512]
    assert halvings(2048, 1500) == [2048]
    assert less(Fit(False, 2048), longest=LONGEST, wish=Wish()) == Fit(True, 512)
    assert less(Fit(False, 2048), longest=LONGEST, wish=Wish(False, 2048)) is None
    assert less(Fit(False, 2048), longest=LONGEST, wish=Wish(False)) == Fit(False, 512)
    assert less(Fit(True, 512), longest=LONGEST, wish=Wish()) is None
