"""Whether a tuned model is worth putting to work, in one plain word with its reason."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # numpy comes with it, and who only names a verdict counts nothing
    from finetune.grading.resampling import Change

FEWEST_ROWS = 30  # of a suite: below, one answer more or less is several per cent
MOST_SEEN = 0.1  # of the rows: what is known by heart makes too much of the figures
MOST_ERRORS = 0.1  # of the rows
SMALL_GAIN = 0.05  # of the score: less is no reason to train, serve and look after a model


class Decision(StrEnum):
    DEPLOY = "deploy"
    MORE_DATA = "more_data"
    DO_NOT = "do_not"


class Reason(StrEnum):
    """What each says is written for people in `SAID`."""

    TRAINED_ON = "trained_on"
    TOO_FEW_ROWS = "too_few_rows"
    TOO_MANY_ERRORS = "too_many_errors"
    WORSE_THAN_BASE = "worse_than_base"
    NO_GAIN = "no_gain"
    UNDECIDED = "undecided"
    EXAMPLES_BETTER = "examples_better"
    EXAMPLES_AS_GOOD = "examples_as_good"
    BETTER_THAN_BASE = "better_than_base"
    BETTER_THAN_BOTH = "better_than_both"


# In the portal's words, too
CALLED = {
    Decision.DEPLOY: "Worth putting to work",
    Decision.MORE_DATA: "Cannot be told yet",
    Decision.DO_NOT: "Not worth putting to work",
}
SAID = {
    Reason.TRAINED_ON: "More than one question in ten stands in what the model was trained or "
    "chosen with, which shows what it knows by heart. Bring rows that training has not seen.",
    Reason.TOO_FEW_ROWS: f"The suite has fewer than {FEWEST_ROWS} rows, too few to tell. "
    "Bring more.",
    Reason.TOO_MANY_ERRORS: "More than one answer in ten could not be had or graded, so the "
    "scores say little. See the items' errors.",
    Reason.WORSE_THAN_BASE: "The tuned model scores lower than the base.",
    Reason.NO_GAIN: f"The tuned model gains less than {SMALL_GAIN:.0%} over the base, if anything.",
    Reason.UNDECIDED: "No difference to the base is shown, nor is a gain ruled out. Train on more "
    "rows, or ask more questions.",
    Reason.EXAMPLES_BETTER: "The base with a few examples in its prompt scores higher, without "
    "any training.",
    Reason.EXAMPLES_AS_GOOD: "The tuned model is better than the base, but not shown to be better "
    "than the base with a few examples in its prompt. Train on more rows, or ask more questions.",
    Reason.BETTER_THAN_BASE: "The tuned model scores higher than the base.",
    Reason.BETTER_THAN_BOTH: "The tuned model scores higher than the base, and than the base with "
    "a few examples in its prompt.",
}


@dataclass(frozen=True)
class Advice:
    decision: Decision
    reason: Reason

    @property
    def said(self) -> str:
        return SAID[self.reason]


def advise(
    base: "Change",
    examples: "Change | None" = None,
    *,
    errors: float = 0.0,
    seen: float = 0.0,
) -> Advice:
    """`base` and `examples`: the tuned model's scores minus those of the base, and of the base with
    examples in its prompt. `errors`: the share of rows without a mark, of the worst side; `seen`:
    the share of rows that stand in what the model was trained or chosen with.

    What makes the figures worthless comes first; then what was shown; what was not shown last.
    """
    if seen > MOST_SEEN:
        return Advice(Decision.MORE_DATA, Reason.TRAINED_ON)
    if errors > MOST_ERRORS:
        return Advice(Decision.MORE_DATA, Reason.TOO_MANY_ERRORS)
    if base.rows < FEWEST_ROWS:
        return Advice(Decision.MORE_DATA, Reason.TOO_FEW_ROWS)
    if not base.shown:
        return _undecided(base)
    if base.difference < 0:
        return Advice(Decision.DO_NOT, Reason.WORSE_THAN_BASE)
    if examples is None:
        return Advice(Decision.DEPLOY, Reason.BETTER_THAN_BASE)
    if not examples.shown:
        return Advice(Decision.MORE_DATA, Reason.EXAMPLES_AS_GOOD)
    if examples.difference < 0:
        return Advice(Decision.DO_NOT, Reason.EXAMPLES_BETTER)
    return Advice(Decision.DEPLOY, Reason.BETTER_THAN_BOTH)


def _undecided(base: "Change") -> Advice:
    assert base.interval is not None  # there are enough rows
    if base.interval[1] < SMALL_GAIN:
        return Advice(Decision.DO_NOT, Reason.NO_GAIN)
    return Advice(Decision.MORE_DATA, Reason.UNDECIDED)
