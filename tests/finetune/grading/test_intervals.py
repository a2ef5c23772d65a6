"""Intervals against published figures, and against what they promise."""

import random

import pytest

from finetune.grading.intervals import Pairs, newcombe, wilson


def test_wilson_matches_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17:857, table I, method 3
    assert wilson(81, 263) == pytest.approx((0.2553, 0.3662), abs=5e-5)
    assert wilson(15, 148) == pytest.approx((0.0624, 0.1605), abs=5e-5)
    assert wilson(0, 20) == pytest.approx((0.0, 0.1611), abs=5e-5)
    assert wilson(1, 29) == pytest.approx((0.0061, 0.1718), abs=5e-5)


def test_wilson_ends_at_nothing_and_all_exactly() -> None:
    assert wilson(0, 12)[0] == 0.0
    assert wilson(12, 12)[1] == 1.0


def test_the_paired_interval_matches_published_values() -> None:
    # Newcombe 1998, Statistics in Medicine 17:2635, table III, method 10
    pairs = Pairs(both=36, only_first=2, only_second=12, neither=0)
    assert pairs.difference == pytest.approx(0.2)
    assert newcombe(pairs) == pytest.approx((0.0569, 0.3404), abs=5e-5)
    # Cavo et al. 2012 in Fagerland, Lydersen & Laake 2017, Statistical Analysis of Contingency
    # Tables, chapter 8 (printed by the authors' R package contingencytables, as first minus second)
    pairs = Pairs(both=59, only_first=16, only_second=6, neither=80)
    assert pairs.difference == pytest.approx(-0.0621, abs=5e-5)
    assert newcombe(pairs) == pytest.approx((-0.1186, -0.0046), abs=5e-5)


def test_the_paired_interval_turns_with_the_pair() -> None:
    low, high = newcombe(Pairs(both=30, only_first=4, only_second=9, neither=17))
    turned = newcombe(Pairs(both=30, only_first=9, only_second=4, neither=17))
    assert turned == pytest.approx((-high, -low))


def test_the_paired_interval_covers_the_truth_about_95_times_in_100() -> None:
    rng = random.Random(7)
    hits, trials = 0, 1500
    for _ in range(trials):
        marks = []
        for _ in range(60):
            first = rng.random() < 0.3
            marks.append((first, first or rng.random() < 0.5))
        pairs = Pairs(
            both=marks.count((True, True)),
            only_first=0,
            only_second=marks.count((False, True)),
            neither=marks.count((False, False)),
        )
        low, high = newcombe(pairs)
        hits += low <= 0.35 <= high
    assert 0.93 <= hits / trials <= 0.985
