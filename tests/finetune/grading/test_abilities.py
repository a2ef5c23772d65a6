"""Where a model is weak and its data is thin."""

from typing import Any

from finetune.grading.abilities import Gap, abilities


def told(score: float, low: float, high: float, rows: int = 20) -> dict[str, Any]:
    return {"rows": rows, "score": score, "interval": [low, high]}


MODEL = {
    "lights": told(0.9, 0.8, 0.97),
    "heating": told(0.2, 0.1, 0.4),
    "music": told(0.3, 0.2, 0.45),
    "doors": told(0.4, 0.1, 0.8, rows=3),
}
ROWS = {"lights": 400, "heating": 20, "music": 300, "alarms": 50}


def test_weak_with_few_rows_wants_rows_and_weak_with_many_wants_better_ones() -> None:
    found = abilities(MODEL, {"lights": told(0.5, 0.4, 0.6)}, ROWS, overall=0.5)
    assert [(each.tag, each.gap, each.rows) for each in found] == [
        ("heating", Gap.BRING_ROWS, 20),
        ("music", Gap.MEND_ROWS, 300),
        ("doors", Gap.NONE, 0),  # three questions do not show that it is weak
        ("lights", Gap.NONE, 400),
        ("alarms", Gap.NOT_ASKED, 50),
    ]
    assert [each.base for each in found if each.tag == "lights"] == [0.5]


def test_an_ability_that_no_row_teaches_wants_rows() -> None:
    found = abilities(MODEL, {}, {"lights": 4}, overall=0.5)
    assert {each.tag: each.gap for each in found}["heating"] == Gap.BRING_ROWS


def test_rows_that_were_not_counted_leave_it_at_weak() -> None:
    found = abilities(MODEL, {}, None, overall=0.5)
    assert {each.tag: each.gap for each in found}["heating"] == Gap.WEAK
    assert {each.rows for each in found} == {None}


def test_without_tags_there_is_nothing() -> None:
    assert abilities({}, {}, None, overall=0.5) == []
