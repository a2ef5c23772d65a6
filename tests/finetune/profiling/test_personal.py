"""What is personal or secret is found, and what only looks like it is not: on a written set."""

import json
import time
from collections import Counter

import pytest

from finetune.profiling.personal import Found, Kind, find, masked, masked_row
from finetune.profiling.texts import texts_of
from tests.finetune.profiling.corpus import POSITIVES, TRAPS, UNSEEN, corpus


@pytest.mark.parametrize(
    ("lines", "precise", "complete"),
    [(POSITIVES + TRAPS, 1.0, 1.0), (UNSEEN, 0.92, 0.96)],
    ids=["written", "unseen"],
)
def test_precision_and_recall(
    lines: str, precise: float, complete: float, capsys: pytest.CaptureFixture[str]
) -> None:
    right, missed, wrong = Counter[Kind](), Counter[Kind](), Counter[Kind]()
    for text, wanted in corpus(lines):
        found = find(text)
        right.update(each.kind for each in found if each in wanted)
        missed.update(each.kind for each in wanted if each not in found)
        wrong.update(each.kind for each in found if each not in wanted)
    precision = right.total() / (right.total() + wrong.total())
    recall = right.total() / (right.total() + missed.total())
    with capsys.disabled():
        print(f"\n{'kind':16} right missed wrong")
        for kind in Kind:
            print(f"{kind:16} {right[kind]:5} {missed[kind]:6} {wrong[kind]:5}")
        print(f"precision {precision:.3f}, recall {recall:.3f}")
    assert set(right) == set(Kind)
    assert precision >= precise
    assert recall >= complete


def test_no_text_takes_long() -> None:
    """A stranger's text must not make a pattern try forever."""
    for piece in (
        "a@",
        "a.",
        "1-",
        "-----BEGIN PRIVATE KEY-----",
        "+1 ",
        "://a:",
        "ab:",
        "eyJa.",
        "密码:",
    ):
        began = time.process_time()
        find(piece * (200_000 // len(piece)))
        assert time.process_time() - began < 10, piece


def test_places_are_named_and_masked_alone() -> None:
    row = {
        "messages": [
            {"role": "user", "content": "Tell bob@corp.io"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_1",
                        "type": "function",
                        "function": {
                            "name": "f",
                            "arguments": '{"n": 13800138000, "t": "13800138000"}',
                        },
                    }
                ],
            },
        ]
    }
    found = {place: hits for place, text in texts_of(row) if (hits := find(text))}
    arguments = "messages[1].tool_calls[0].function.arguments"
    assert {place: [each.kind for each in hits] for place, hits in found.items()} == {
        "messages[0].content": [Kind.EMAIL],
        arguments: [Kind.PHONE, Kind.PHONE],
    }
    made = masked_row(row, found)
    assert made["messages"][0]["content"] == "Tell [EMAIL]"
    call = made["messages"][1]["tool_calls"][0]
    assert json.loads(call["function"]["arguments"]) == {"n": "[PHONE]", "t": "[PHONE]"}
    assert (call["id"], row["messages"][0]["content"]) == ("call_1", "Tell bob@corp.io")


def test_a_mask_is_not_found_again() -> None:
    for text, wanted in corpus():
        assert find(masked(text, wanted)) == []


def test_only_the_kinds_that_are_asked_for() -> None:
    text = "bob@corp.io 13800138000"
    assert find(text, [Kind.PHONE]) == [Found(12, 23, Kind.PHONE)]
