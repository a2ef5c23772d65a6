"""JSON that is nested deeper than its reader bears is refused, never walked."""

import json
from collections.abc import Callable
from typing import Any

import pytest
from django.test import RequestFactory

from faults import UserFault
from faults.nesting import TooDeep, bound, levels
from finetune.api.bodies import read_json
from finetune.records.check.problems import RowUnusable
from finetune.records.check.strict_json import loads
from tenants.trail import strict


def nested(lists: int, inner: str = "") -> str:
    return "[" * lists + inner + "]" * lists


def test_the_levels_of_a_value_come_from_the_outermost_in() -> None:
    value = {"a": [1, {"b": "x"}], "c": 2.5}
    assert list(levels(value, 4)) == [[value], [[1, {"b": "x"}], 2.5], [1, {"b": "x"}], ["x"]]
    assert list(levels(7, 1)) == [[7]]


def test_one_level_more_than_allowed_is_too_deep() -> None:
    bound({"a": [1]}, 3)
    bound([[[]]], 3)
    with pytest.raises(TooDeep):
        bound({"a": [1]}, 2)


def test_a_value_far_deeper_than_python_can_recurse_is_counted() -> None:
    value: list[Any] = []
    for _ in range(200_000):
        value = [value]
    with pytest.raises(TooDeep):
        bound(value, 1000)
    bound(value, 200_001)
    while value:  # or its end would recurse
        value = value.pop()


def body(text: str) -> Any:
    return read_json(RequestFactory().post("/v1/x", text, content_type="application/json"))


def row(text: str) -> Any:
    return loads(text.encode())


@pytest.mark.parametrize(
    ("read", "most", "fault", "words"),
    [
        (body, 64, UserFault, "The body is nested too deeply. Fix: Nest at most 64"),
        (strict.read_json, 64, strict.BadJson, "it is nested more than 64 levels deep"),
        (row, 102, RowUnusable, "too_deep"),
    ],
)
def test_each_reader_has_its_bound_and_its_words(
    read: Callable[[str], Any], most: int, fault: type[Exception], words: str
) -> None:
    for text in (nested(most), nested(most - 1, "1"), nested(most - 1, '"a"')):
        assert read(text) == json.loads(text)
    for text in (nested(most + 1), nested(most, "1"), nested(100_000), '{"a":' * most + "1"):
        if text.startswith("{"):
            text += "}" * most
        with pytest.raises(fault, match=words):
            read(text)
