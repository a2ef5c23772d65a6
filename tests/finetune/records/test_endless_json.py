"""Numbers and nestings without end, wherever JSON stands in a file: one plain finding each."""

import csv
import io
import json
from typing import Any

import pytest

from faults import UserFault
from finetune.records.encode import RowEncoder
from tests.finetune.records.conftest import Check
from tests.finetune.records.templates import tokenizer

HUGE = "9" * 5000
DEEPS = ["[" * levels + "]" * levels for levels in (800, 5000)]
ENDLESS = [HUGE, *DEEPS, '{"a":' * 800 + "1" + "}" * 800]
GOOD = {"role": "user", "content": "hi"}


def called(arguments: str) -> dict[str, Any]:
    function = {"name": "f", "arguments": arguments}
    call = {"id": "call_1", "type": "function", "function": function}
    return {"messages": [GOOD, {"role": "assistant", "tool_calls": [call]}]}


def line(row: dict[str, Any]) -> bytes:
    return json.dumps(row).encode() + b"\n"


def codes(check: Check, data: bytes, name: str = "data.jsonl") -> list[str]:
    return [problem.code for problem in check(data, name).problems if problem.severity == "error"]


@pytest.mark.parametrize("endless", ENDLESS, ids=["huge", "deep", "deeper", "objects"])
def test_in_a_line(check: Check, endless: str) -> None:
    expected = "not_finite" if endless == HUGE else "too_deep"
    assert codes(check, b'{"text": %s}\n' % endless.encode()) == [expected]
    # two equal keys are the slow reader's
    assert codes(check, b'{"a": 1, "b": "\\\\", "text": %s}\n' % endless.encode()) == [expected]


@pytest.mark.parametrize("endless", ENDLESS, ids=["huge", "deep", "deeper", "objects"])
def test_in_the_strings_that_hold_json(check: Check, endless: str) -> None:
    assert codes(check, line(called(endless))) == ["bad_tool_arguments"]
    turns = [{"from": "human", "value": "hi"}, {"from": "function_call", "value": endless}]
    assert codes(check, line({"conversations": turns})) == ["bad_tool_call"]
    turns[1] = {"from": "gpt", "value": "ho"}
    assert codes(check, line({"conversations": turns, "tools": endless})) == ["bad_tool"]


@pytest.mark.parametrize("endless", ENDLESS, ids=["huge", "deep", "deeper", "objects"])
def test_in_a_column_of_csv(check: Check, endless: str) -> None:
    out = io.StringIO()
    csv.writer(out).writerows([["messages", "tools"], [json.dumps([GOOD]), endless]])
    expected = "not_finite" if endless == HUGE else "too_deep"
    assert codes(check, out.getvalue().encode(), "data.csv") == [expected]


@pytest.mark.parametrize("endless", ENDLESS, ids=["huge", "deep", "deeper", "objects"])
def test_in_the_arguments_of_a_conversation_that_a_model_is_asked_with(endless: str) -> None:
    with pytest.raises(UserFault) as refused:
        RowEncoder(tokenizer("qwen2_5")).encode(called(endless))  # type: ignore[arg-type]
    assert refused.value.code == "bad_tool_arguments"
