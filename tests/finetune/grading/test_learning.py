"""What more rows would bring: known laws are found again, and intervals say how sure that is."""

import json

import numpy as np
import pytest

from finetune.grading.learning import (
    SAID,
    LearningCurve,
    Outlook,
    Point,
    learning_curve,
    sentence,
    told,
)

NOW = 1600


def law(rows: float, *, limit: float = 1.0, fall: float = 0.5, exponent: float = 0.3) -> float:
    return limit + fall * float((rows / NOW) ** -exponent)


def curve(losses: list[float]) -> LearningCurve:
    """Of the most rows last, each half of the next."""
    sizes = sizes_of(len(losses))
    return learning_curve([Point(*each) for each in zip(sizes, losses, strict=True)])


def sizes_of(points: int) -> list[int]:
    return [NOW >> left for left in range(points)][::-1]


@pytest.mark.parametrize("points", [4, 5])
@pytest.mark.parametrize("exponent", [0.1, 0.3, 0.7])
def test_a_known_law_is_found_again(points: int, exponent: float) -> None:
    found = curve([law(rows, exponent=exponent) for rows in sizes_of(points)])
    assert found.outlook is Outlook.FALLS
    for ahead in found.ahead:
        truth = law(ahead.rows, exponent=exponent)
        assert ahead.rows == ahead.factor * NOW
        assert ahead.loss == pytest.approx(truth, rel=0.015)
        assert ahead.interval[0] < truth < ahead.interval[1]
        assert ahead.gain_interval[0] < law(NOW) - truth < ahead.gain_interval[1]
    wanted = law(3 * NOW, exponent=exponent)
    needed = found.needed(wanted)
    assert needed is not None
    assert needed.rows == pytest.approx(3 * NOW, rel=0.3)
    low, high = needed.interval
    assert low is not None
    assert high is not None
    assert low < 3 * NOW < high


def test_intervals_cover_the_truth_where_trainings_differ_by_chance() -> None:
    random, trials, covered = np.random.default_rng(5), 120, 0
    for _ in range(trials):
        limit, fall = random.uniform(0.2, 1.5), random.uniform(0.05, 0.8)
        exponent, noise = random.choice([0.1, 0.2, 0.3, 0.5, 0.8]), random.choice([0.003, 0.01])
        true = [law(n, limit=limit, fall=fall, exponent=exponent) for n in sizes_of(5)]
        found = curve([loss * (1 + noise * random.standard_normal()) for loss in true])
        ahead = found.ahead[0]
        truth = law(ahead.rows, limit=limit, fall=fall, exponent=exponent)
        covered += ahead.interval[0] <= truth <= ahead.interval[1]
    assert 0.88 * trials <= covered < trials  # of an interval of 95%, which is not for ever sure


def test_more_noise_makes_wider_intervals() -> None:
    widths = []
    for noise in (0.0, 0.01, 0.04):
        signs = (-1, 1, -1, 1, -1)
        true = [law(rows, fall=0.1) for rows in sizes_of(5)]
        found = curve([loss * (1 + noise * s) for loss, s in zip(true, signs, strict=True)])
        low, high = found.ahead[1].gain_interval
        widths.append(high - low)
    assert widths == sorted(widths)
    assert found.outlook is Outlook.UNSURE


def test_a_flat_curve_says_that_more_rows_bring_nothing() -> None:
    found = curve([1.2003, 1.1998, 1.2001, 1.2, 1.1999])
    assert found.outlook is Outlook.FLAT
    assert found.ahead[1].gain_interval[1] < 0.012
    needed = found.needed(0.9)
    assert needed is not None
    assert needed.rows is None


def test_a_loss_that_rises_with_the_rows_is_told() -> None:
    found = curve([1.0, 1.05, 1.1, 1.15, 1.2])
    assert found.outlook is Outlook.RISES
    assert found.ahead[1].gain_interval[1] < 0


def test_a_law_whose_limit_lies_above_a_loss_never_gets_there() -> None:
    found = curve([law(rows, exponent=0.8) for rows in sizes_of(5)])
    reached, never = found.needed(1.2), found.needed(0.5)
    assert reached is not None
    assert reached.rows is not None
    assert never is not None
    assert (never.rows, never.interval) == (None, (None, None))
    today = found.needed(2.0)
    assert today is not None
    assert (today.rows, today.interval) == (NOW, (NOW, NOW))


def test_no_loss_is_told_to_fall_below_zero() -> None:
    found = curve([2.0, 1.0, 0.5, 0.25])
    assert all(each.interval[0] >= 0 for each in found.ahead)


@pytest.mark.parametrize(
    ("losses", "says"),
    [
        ([law(rows) for rows in sizes_of(5)], "Twice the rows (3,200) would bring the validation"),
        ([1.2003, 1.1998, 1.2001, 1.2, 1.1999], "four times as many (6,400) would lower the"),
        ([1.0, 1.05, 1.1, 1.15, 1.2], "More rows like these would do harm"),
        ([1.1, 1.2, 1.1, 1.2, 1.1], "would leave the validation loss, 1.100 now, anywhere"),
        ([1.2, 1.1], "too few of the trainings"),
    ],
    ids=list(Outlook),
)
def test_each_outlook_is_told_in_a_sentence_with_its_numbers(
    losses: list[float], says: str
) -> None:
    report = json.loads(json.dumps(told(curve(losses))))
    assert says in sentence(report)
    assert set(SAID) == set(Outlook)


@pytest.mark.parametrize("points", [0, 1, 3])
def test_too_few_points_say_so(points: int) -> None:
    found = curve([law(rows) for rows in sizes_of(points)])
    assert (found.outlook, found.ahead, found.needed(1.0)) == (Outlook.TOO_FEW, (), None)


def test_the_same_points_say_the_same_in_any_order() -> None:
    points = [Point(rows, law(rows)) for rows in sizes_of(4)]
    assert learning_curve(points).ahead == learning_curve(points[::-1]).ahead


@pytest.mark.parametrize(
    "points",
    [
        [Point(8, 1.0), Point(8, 1.1)],
        [Point(8, float("nan"))],
        [Point(8, float("inf"))],
        [Point(8, -0.1)],
        [Point(0, 1.0)],
    ],
)
def test_what_is_no_point_of_a_curve_is_refused(points: list[Point]) -> None:
    with pytest.raises(ValueError, match="point"):
        learning_curve(points)


def test_a_law_that_foretells_more_than_was_measured_is_no_fall() -> None:
    """Losses of few steps each, which no power law goes through."""
    points = [(8, 3.233), (15, 2.44), (30, 1.493), (60, 0.8133), (120, 0.4109)]
    curve = learning_curve([Point(*each) for each in points])
    assert curve.ahead[0].loss > points[-1][1]
    assert curve.outlook == Outlook.UNSURE
