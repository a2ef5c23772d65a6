"""What more rows would bring: a power law through the held-out losses of trainings on fewer and
fewer rows, and where it leads, with intervals.

loss(n) = limit + drop * n^-exponent (Hestness et al. 2017). The law has three unknowns and the
trainings are few, so nothing is told from the best fit alone: all laws that agree with the points
are drawn (a posterior under flat priors of the level and of the fall over the rows seen, and a
log-uniform one of the exponent), by a fixed seed: the same points say the same.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from enum import StrEnum
from typing import Any

import numpy as np
import numpy.typing as npt

from finetune.grading.intervals import Interval

FEWEST_POINTS = 4  # three unknowns, and one point to tell how far the law is off
FACTORS = (2, 4)
LOWER = (0.05, 0.1)  # shares of the loss that are asked for where nothing else is
SMALL_GAIN = 0.01  # of the loss: less is no reason to gather four times the rows
MOST_TIMES = 1_000  # the rows that there are: further a law of these few points leads nowhere
_EXPONENTS = np.geomspace(0.05, 2.0, 400)  # language models' lie between 0.07 and 0.5
# Two trainings that differ in their draws alone differ by some tenths of a per cent. So much is
# taken as known, as half a point more would tell it: four points by chance on a line prove no law
_NOISE, _NOISE_POINTS = 0.003, 0.5
_DRAWN = 10_000
_SEED = 20_817

SAID = {
    "falls": "Twice the rows (%(twice_rows)s) would bring the validation loss from %(now)s to "
    "%(twice)s (95%%: %(twice_low)s to %(twice_high)s), and four times the rows (%(four_rows)s) to "
    "%(four)s (%(four_low)s to %(four_high)s).",
    "flat": "More rows like these would bring next to nothing: four times as many "
    "(%(four_rows)s) would lower the validation loss, %(now)s, by %(most)s at most.",
    "rises": "More rows like these would do harm: the validation loss, %(now)s, is lower with "
    "fewer of them, and four times as many (%(four_rows)s) would raise it by %(least_harm)s at "
    "least.",
    "unsure": "What more rows would bring cannot be told: by the trainings on fewer, four times "
    "the rows (%(four_rows)s) would leave the validation loss, %(now)s now, anywhere between "
    "%(four_low)s and %(four_high)s.",
    "too_few": "What more rows would bring cannot be told: too few of the trainings on fewer rows "
    "gave a loss.",
}

Figures = npt.NDArray[np.float64]


class Outlook(StrEnum):
    """What each says is written for people in `SAID`."""

    FALLS = "falls"
    FLAT = "flat"
    RISES = "rises"
    UNSURE = "unsure"
    TOO_FEW = "too_few"


@dataclass(frozen=True)
class Point:
    """A training on `rows` rows and its loss on the rows held out [nats]."""

    rows: int
    loss: float


@dataclass(frozen=True)
class Ahead:
    """The loss at so many times the rows, and how far it is below today's; medians and 95%."""

    factor: int
    rows: int
    loss: float
    interval: Interval
    gain: float
    gain_interval: Interval


@dataclass(frozen=True)
class Needed:
    """Rows until a loss is reached. None: not within a thousand times the rows that there are, as
    far as half of the laws, or one in forty, say."""

    loss: float
    rows: int | None
    interval: tuple[int | None, int | None]


@dataclass(frozen=True)
class _Laws:
    """Draws of the posterior. `level`: the loss at `rows`, the most that there are."""

    rows: int
    level: Figures
    drop: Figures
    exponent: Figures

    def gain(self, factor: float) -> Figures:
        return self.drop * (1 - factor**-self.exponent)

    def times(self, loss: float) -> Figures:
        """So many times the rows until `loss`; infinite where the law never gets there."""
        with np.errstate(divide="ignore", invalid="ignore"):
            left = 1 - (self.level - loss) / self.drop
            times = left ** (-1 / self.exponent)
        reached = (self.drop > 0) & (left > 0) & (times <= MOST_TIMES)
        return np.where(self.level <= loss, 1.0, np.where(reached, times, math.inf))


@dataclass(frozen=True)
class LearningCurve:
    """`points` by their rows, ascending. No law: there are too few of them."""

    points: tuple[Point, ...]
    outlook: Outlook
    ahead: tuple[Ahead, ...]
    _laws: _Laws | None = field(default=None, repr=False, compare=False)

    def needed(self, loss: float) -> Needed | None:
        if self._laws is None:
            return None
        times = self._laws.times(loss)
        low, middle, high = (_rows(self._laws.rows, each) for each in _three(times))
        return Needed(loss, middle, (low, high))


def learning_curve(points: Sequence[Point]) -> LearningCurve:
    """Raises ValueError for two of equally many rows, or a loss that is negative or not finite."""
    found = tuple(sorted(points, key=lambda point: point.rows))
    if len({point.rows for point in found}) < len(found):
        raise ValueError("two points have equally many rows")
    if not all(0 <= point.loss < math.inf and point.rows > 0 for point in found):
        raise ValueError("a point is no finite loss of some rows")
    if len(found) < FEWEST_POINTS:
        return LearningCurve(found, Outlook.TOO_FEW, ())
    laws = _laws(found)
    ahead = tuple(_ahead(laws, factor) for factor in FACTORS)
    return LearningCurve(found, _outlook(ahead, found[-1].loss), ahead, laws)


def told(curve: LearningCurve) -> dict[str, Any]:
    """As a report has it, with the rows needed for a loss that is some shares lower."""
    wanted = [(1 - share) * curve.points[-1].loss for share in LOWER if curve.points]
    needed = [found for loss in wanted if (found := curve.needed(loss)) is not None]
    return {
        "points": [asdict(point) for point in curve.points],
        "outlook": curve.outlook.value,
        "ahead": [asdict(each) for each in curve.ahead],
        "needed": [asdict(each) for each in needed],
    }


def words(told: Mapping[str, Any]) -> tuple[str, dict[str, str]]:
    """What a report says, as a template (a key of translations, too) and what fills it."""
    template = SAID[told["outlook"]]
    if not told["ahead"]:
        return template, {}
    twice, four = told["ahead"]
    now = told["points"][-1]["loss"]
    filling = {
        "now": _figure(now),
        "most": f"{max(0.0, four['gain_interval'][1]) / now:.1%}",
        "least_harm": _figure(-four["gain_interval"][1]),
    }
    for name, ahead in (("twice", twice), ("four", four)):
        low, high = ahead["interval"]
        filling |= {
            name: _figure(ahead["loss"]),
            f"{name}_rows": f"{ahead['rows']:,}",
            f"{name}_low": _figure(low),
            f"{name}_high": _figure(high),
        }
    return template, filling


def sentence(told: Mapping[str, Any]) -> str:
    """In English, as the API gives it."""
    template, filling = words(told)
    return template % filling


def _figure(loss: float) -> str:
    return f"{loss:#.4g}"


def _outlook(ahead: Sequence[Ahead], now: float) -> Outlook:
    low, high = ahead[-1].gain_interval
    if high < 0:
        return Outlook.RISES
    if high <= SMALL_GAIN * now:
        return Outlook.FLAT
    # A law far off the last point falls from a loss that nobody measured
    falls = low > 0 and all(each.loss < now for each in ahead)
    return Outlook.FALLS if falls else Outlook.UNSURE


def _laws(points: Sequence[Point]) -> _Laws:
    """For each exponent the law is a line in n^-exponent, whose posterior is known in closed form
    (normal given the noise, whose square is inverse chi-square); exponents are weighed by how well
    their line agrees. Level and fall are taken over the rows that were seen, so that they mean the
    same for each exponent. A law whose limit is below zero is none of a loss, and is dropped.
    """
    rows = np.array([point.rows for point in points], dtype=np.float64)
    losses = np.array([point.loss for point in points], dtype=np.float64)
    degrees = len(points) - 2 + _NOISE_POINTS
    known = _NOISE_POINTS * max(_NOISE * float(losses.mean()), 1e-12) ** 2
    bent = (rows / rows[-1]) ** -_EXPONENTS[:, None]  # [exponents, points]
    reach = bent[:, 0] - 1  # how far the line's variable goes over the rows that were seen
    line = np.stack([np.ones_like(bent), (bent - 1) / reach[:, None]], axis=-1)
    spread = np.linalg.inv(line.transpose(0, 2, 1) @ line)  # [exponents, 2, 2]
    best = spread @ line.transpose(0, 2, 1) @ losses  # [exponents, 2]: level, fall
    off = ((losses - (line @ best[..., None])[..., 0]) ** 2).sum(1) + known
    weights = np.sqrt(np.linalg.det(spread)) * (off / off.min()) ** (-degrees / 2)
    random = np.random.default_rng(_SEED)
    drawn = random.choice(len(_EXPONENTS), size=_DRAWN, p=weights / weights.sum())
    noise = np.sqrt(off[drawn] / random.chisquare(degrees, _DRAWN))
    cast = np.linalg.cholesky(spread)[drawn] @ random.standard_normal((_DRAWN, 2, 1))
    level, fall = (best[drawn] + noise[:, None] * cast[..., 0]).T
    drop = fall / reach[drawn]
    sound = drop <= level
    return _Laws(points[-1].rows, level[sound], drop[sound], _EXPONENTS[drawn][sound])


def _ahead(laws: _Laws, factor: int) -> Ahead:
    gain = laws.gain(factor)
    low, loss, high = _three(laws.level - gain)
    least, middle, most = _three(gain)
    return Ahead(factor, factor * laws.rows, loss, (low, high), middle, (least, most))


def _three(values: Figures) -> tuple[float, float, float]:
    """2.5%, median, 97.5%; nothing between two draws, as some are infinite."""
    low, middle, high = np.quantile(values, (0.025, 0.5, 0.975), method="nearest")
    return float(low), float(middle), float(high)


def _rows(rows: int, times: float) -> int | None:
    return None if math.isinf(times) else math.ceil(times * rows)
