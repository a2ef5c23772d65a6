"""What the model page says of the validation loss: signed, and the doubt before the praise."""

from typing import Any

import pytest
from django.utils.translation import override

from finetune.grading.intervals import chance
from finetune.grading.learning import Point, learning_curve, sentence
from finetune.grading.learning import told as curve_told
from finetune.services.models.prompting import most_common
from privatune.cli import evaluations
from privatune.portal import learning, verdicts
from privatune.portal.outcome import outcome
from privatune.portal.searched import searched


@pytest.mark.parametrize(
    ("base", "tuned", "english", "chinese", "colour"),
    [
        (2.0, 1.5, "25.0% lower: better", "降低 25.0%：变好", "green"),
        (2.0, 2.002, "0.1% higher: worse", "升高 0.1%：变差", "red"),
        (2.0, 2.0004, "as the base's", "与基础模型相同", ""),
    ],
)
def test_the_change_is_told_by_its_sign(
    base: float, tuned: float, english: str, chinese: str, colour: str
) -> None:
    report = {"base_valid_loss": base, "valid_loss": tuned, "valid_rows_in_training": 0}
    for language, words in (("en", english), ("zh-hans", chinese)):
        with override(language):
            found = outcome(report)
        assert found is not None
        assert (found.words, found.colour, found.overlap) == (words, colour, "")


POINTS = {
    "falls": [2.0, 1.7, 1.5, 1.37, 1.28],
    "flat": [1.2003, 1.1998, 1.2001, 1.2, 1.1999],
    "rises": [1.0, 1.05, 1.1, 1.15, 1.2],
    "unsure": [1.1, 1.2, 1.1, 1.2, 1.1],
    "too_few": [1.2, 1.1],
}
CHINESE = {
    "falls": "行数增至两倍（3,200 行）时，验证损失预计从 1.280 变为",
    "flat": "增加同类的行几乎没有作用",
    "rises": "增加同类的行反而有害",
    "unsure": "尚无法判断增加行数的作用",
    "too_few": "得到损失的次数太少",
}


@pytest.mark.parametrize("outlook", POINTS)
def test_what_more_rows_would_bring_is_drawn_and_told_in_the_persons_language(outlook: str) -> None:
    points = [Point(100 << n, loss) for n, loss in enumerate(POINTS[outlook])]
    report = {"learning_curve": curve_told(learning_curve(points))}
    assert report["learning_curve"]["outlook"] == outlook
    shown = learning.drawn(report)
    assert shown is not None
    assert shown["said"] == sentence(report["learning_curve"])
    with override("zh-hans"):
        chinese = learning.drawn(report)
    assert chinese is not None
    assert CHINESE[outlook] in chinese["said"]
    dots = shown["dots"]
    assert [dot.rows for dot in dots if not dot.is_ahead] == [point.rows for point in points]
    assert len([dot for dot in dots if dot.is_ahead]) == (0 if outlook == "too_few" else 2)
    across = [dot.x for dot in dots]
    assert across == sorted(across)
    assert all(learning.TOP <= y <= learning.BOTTOM for d in dots for y in (d.y, d.low or d.y))


def test_a_model_without_a_learning_curve_shows_none() -> None:
    assert learning.drawn({"valid_loss": 1.0}) is None


def test_a_loss_over_rows_that_were_trained_on_is_not_praised() -> None:
    report = {"base_valid_loss": 2.0, "valid_loss": 0.002}
    report |= {"valid_rows": 4, "valid_rows_in_training": 3}
    found = outcome(report)
    assert found is not None
    assert found.overlap.startswith("3 of the 4 validation rows are in the training data, too")
    assert found.colour == ""
    worse = outcome(report | {"valid_loss": 3.0})
    assert worse is not None
    assert worse.colour == "red", "what got worse even over known rows got worse"


@pytest.mark.parametrize(
    ("tuned", "interval", "p", "words", "colour"),
    [
        (1.5, [-0.6, -0.4], 0.0123, "25.0% lower: better", "green"),
        (1.9, [-0.3, 0.1], 0.0123, "-5.0%: no difference shown", ""),
        (2.1, [-0.1, 0.3], 0.0123, "+5.0%: no difference shown", ""),
        (2.5, [0.4, 0.6], 0.0123, "25.0% higher: worse", "red"),
        (1.5, [-0.6, -0.4], 0.125, "-25.0%: no difference shown", ""),  # four rows, all alike
    ],
)
def test_only_a_change_whose_interval_leaves_zero_out_has_a_colour(
    tuned: float, interval: list[float], p: float, words: str, colour: str
) -> None:
    change = {"rows": 9, "difference": tuned - 2, "interval": interval, "p_value": p}
    found = outcome({"base_valid_loss": 2.0, "valid_loss": tuned, "validation_change": change})
    assert found is not None
    assert (found.words, found.colour) == (words, colour)
    low, high = (f"{end:+.3f}" for end in interval)
    assert f"95% interval {low} to {high} over 9 rows" in found.within
    assert f"p = {p:.3f}" in found.within


def test_only_of_tokens_is_a_loss_told_by_the_token() -> None:
    change = {"rows": 9, "difference": -0.5, "interval": [-0.6, -0.4], "p_value": 0.01}
    report = {"base_valid_loss": 2.0, "valid_loss": 1.5, "validation_change": change}
    told = [outcome(report, objective) for objective in ("sft", "pretrain", "contrastive", "dpo")]
    assert [each is not None and "nats a token" in each.within for each in told] == [
        True, True, False, False,
    ]  # fmt: skip
    assert told[2] is not None
    assert told[2].within.startswith("the loss by -0.500, 95% interval -0.600 to -0.400 over 9")


def test_a_single_validation_row_has_no_interval_to_tell() -> None:
    change = {"rows": 1, "difference": -0.5, "interval": None, "p_value": 1.0}
    found = outcome({"base_valid_loss": 2.0, "valid_loss": 1.5, "validation_change": change})
    assert found is not None
    assert found.within == ""


@pytest.mark.parametrize("report", [{}, {"valid_loss": None, "base_valid_loss": None}])
def test_without_validation_rows_nothing_is_told(report: dict[str, Any]) -> None:
    assert outcome(report) is None


@pytest.mark.parametrize(
    ("difference", "interval", "p", "english", "chinese", "colour"),
    [
        (0.36, [0.31, 0.41], 0.0001, "better than the base", "优于基础模型", "green"),
        (-0.36, [-0.41, -0.31], 0.0001, "worse than the base", "不如基础模型", "red"),
        (0.02, [-0.01, 0.05], 0.0123, "no difference shown", "未显示差异", ""),
        (0.36, [0.3, 0.4], 0.125, "no difference shown", "未显示差异", ""),  # four, all alike
        (0.36, None, 1.0, "no difference shown", "未显示差异", ""),
    ],
)
def test_what_a_search_finds_is_told_by_its_sign(
    difference: float,
    interval: list[float] | None,
    p: float,
    english: str,
    chinese: str,
    colour: str,
) -> None:
    told = {"base": 0.5, "tuned": 0.5 + difference, "base_interval": [0.45, 0.55]}
    told |= {"difference": difference, "interval": interval, "p_value": p}
    report = {
        "retrieval": {"queries": 4, "documents": 9, "measures": {"mrr@10": told, "ndcg@10": told}}
    }
    for language, words in (("en", english), ("zh-hans", chinese)):
        with override(language):
            found = searched(report)
        assert found is not None
        assert (found["queries"], found["documents"]) == (4, 9)
        line, other = found["lines"]
        assert other.name == "MRR@10", "in their own order, whatever the database's"
        mark = "：" if language == "zh-hans" else ": "
        assert (line.words, line.colour) == (f"{difference:+.3f}{mark}{words}", colour)
        assert (line.name, line.base, line.base_within) == (
            *("nDCG@10", "0.500"),
            "0.450\u00a0–\u00a00.550",
        )
        assert line.tuned_within == "", "of a model from before they were measured"
    by_heart = searched(report | {"valid_rows_in_training": 1})
    assert by_heart is not None
    assert by_heart["lines"][0].colour == ("red" if colour == "red" else "")
    assert searched({}) is None


def test_the_system_message_that_most_rows_have_is_found() -> None:
    user = b'{"role": "user", "content": "on"}'
    with_one = b'{"messages": [{"role": "system", "content": "You switch lamps."}, %s]}' % user
    other = with_one.replace(b"lamps", b"fans")
    without = b'{"messages": [%s]}' % user
    assert most_common([other, with_one, without, with_one]) == "You switch lamps."
    assert most_common([without, without, with_one]) == ""
    assert most_common([b'{"prompt": "a", "completion": "b"}']) == ""
    assert most_common([]) == ""


def test_no_chance_is_told_as_zero() -> None:
    """On no page, and in no table of the command line."""
    side = {"rows": 40, "score": 0.5, "interval": [0.4, 0.6], "passed": 20, "errored": 0}
    change = {"difference": 0.1, "interval": [0.05, 0.2], "p_value": 0.0004}
    (line,) = verdicts.lines({"sides": {"base": side}, "changes": {"base": change}})
    assert line.change.endswith("p\u00a0<\u00a00.001")
    assert evaluations._change(change).endswith("p < 0.001")
    assert [chance(each) for each in (0.0, 0.0009, 0.001, 0.0314)] == [
        "p < 0.001", "p < 0.001", "p = 0.001", "p = 0.031",
    ]  # fmt: skip
