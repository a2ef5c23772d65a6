"""When a gate opens, and what it may be asked for."""

from typing import Any

import pytest
from pydantic import ValidationError

from finetune.grading.advice import Decision, Reason
from finetune.grading.gate import Gate

DECIDED = {
    Reason.TRAINED_ON: Decision.MORE_DATA,
    Reason.TOO_FEW_ROWS: Decision.MORE_DATA,
    Reason.TOO_MANY_ERRORS: Decision.MORE_DATA,
    Reason.WORSE_THAN_BASE: Decision.DO_NOT,
    Reason.NO_GAIN: Decision.DO_NOT,
    Reason.UNDECIDED: Decision.MORE_DATA,
    Reason.EXAMPLES_BETTER: Decision.DO_NOT,
    Reason.EXAMPLES_AS_GOOD: Decision.MORE_DATA,
    Reason.BETTER_THAN_BASE: Decision.DEPLOY,
    Reason.BETTER_THAN_BOTH: Decision.DEPLOY,
}


def report(reason: Reason, score: float = 0.8) -> dict[str, Any]:
    advice = {"decision": DECIDED[reason], "reason": reason}
    return {"advice": advice, "sides": {"model": {"score": score}}}


@pytest.mark.parametrize("reason", list(Reason))
def test_each_gate_opens_for_its_verdicts_only(reason: Reason) -> None:
    silent = reason in (Reason.TRAINED_ON, Reason.TOO_FEW_ROWS, Reason.TOO_MANY_ERRORS)
    assert Gate(verdict="deploy").is_reached(report(reason)) == reason.startswith("better")
    not_worse = not silent and reason != Reason.WORSE_THAN_BASE
    assert Gate(verdict="not_worse").is_reached(report(reason)) == not_worse
    assert Gate(minimum=0.8).is_reached(report(reason)) != silent
    assert not Gate(minimum=0.81).is_reached(report(reason))


def test_both_have_to_be_reached() -> None:
    gate = Gate(verdict="deploy", minimum=0.8)
    assert gate.is_reached(report(Reason.BETTER_THAN_BASE))
    assert not gate.is_reached(report(Reason.BETTER_THAN_BASE, 0.7))
    assert not gate.is_reached(report(Reason.UNDECIDED))


@pytest.mark.parametrize("asked", [{}, {"minimum": 1.1}, {"verdict": "fine"}, {"most": 1}])
def test_a_gate_that_asks_nothing_or_the_impossible_is_none(asked: dict[str, Any]) -> None:
    with pytest.raises(ValidationError):
        Gate(**asked)
