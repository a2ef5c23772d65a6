"""Intervals and paired tests of figures that are no shares."""

import random
from statistics import mean

import pytest

from finetune.grading.resampling import change, interval_of_mean


def test_equal_figures_show_nothing() -> None:
    found = change([1.0, 2.0, 3.0], [1.0, 2.0, 3.0])
    assert (found.difference, found.interval, found.p_value) == (0.0, (0.0, 0.0), 1.0)
    assert not found.shown


def test_few_rows_are_tried_with_every_sign() -> None:
    """All five got better: by chance in 2 of 32 ways."""
    found = change([5.0] * 5, [4.0, 3.0, 4.5, 3.5, 2.0])
    assert found.p_value == 2 / 32
    assert found.difference == pytest.approx(-1.6)


def test_sums_are_divided_by_the_weights_of_the_rows() -> None:
    assert change([10.0, 2.0], [5.0, 2.0], [10.0, 2.0]).difference == pytest.approx(-5 / 12)


def test_a_single_row_has_no_interval_and_none_are_no_pairs() -> None:
    found = change([1.0], [2.0])
    assert (found.interval, found.shown, found.p_value) == (None, False, 1.0)
    assert interval_of_mean([1.0]) is None
    with pytest.raises(ValueError, match="no pairs"):
        change([], [])
    with pytest.raises(ValueError, match="no pairs"):
        change([1.0], [])


def test_an_interval_holds_the_truth_about_as_often_as_it_says() -> None:
    drawn = random.Random(7)
    held = wrong = 0
    for _ in range(60):
        first = [drawn.gauss(0, 1) for _ in range(40)]
        same = [value + drawn.gauss(0, 0.5) for value in first]
        better = [value - 1 + drawn.gauss(0, 0.5) for value in first]
        low, high = change(first, better).interval or (0, 0)
        held += low <= -1 <= high
        wrong += change(first, same).p_value < 0.05
    assert held >= 50
    assert wrong <= 8


def test_the_same_figures_say_the_same_and_many_rows_are_no_burden() -> None:
    drawn = random.Random(1)
    first = [drawn.random() for _ in range(3000)]
    second = [value * 0.9 for value in first]
    found = change(first, second)
    assert found == change(first, second)
    assert found.shown
    assert found.p_value < 0.001
    assert found.difference == pytest.approx(mean(second) - mean(first))
