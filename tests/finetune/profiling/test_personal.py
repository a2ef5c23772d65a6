"""What is personal or secret is found, and what only looks like it is not: on a written set."""

import json
import time
from collections import Counter
from typing import Any

import pytest

from finetune.profiling.personal import Found, Kind, find, found_in, masked, masked_row, texts
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


def hits_of(row: Any) -> dict[str, list[Found]]:
    found: dict[str, list[Found]] = {}
    for place, each in found_in(row):
        found.setdefault(place, []).append(each)
    return found


def scrubbed(row: Any) -> Any:
    return masked_row(row, hits_of(row))


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
    found = hits_of(row)
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


@pytest.mark.parametrize(
    "row",
    [
        {"a.b": "since 1999, bob@acme.com, 4111 1111 1111 1111", "a": {"b": "x@y.com"}},
        {"a[0].b": "since 1999, bob@acme.com", "a": [{"b": "x@y.com"}]},
        {"": {"b": "x@y.com"}, "b": "since 1999, bob@acme.com"},
        {'a"]["b': "since 1999, bob@acme.com", "a": {"b": "x@y.com"}},
    ],
)
def test_no_two_places_are_called_the_same(row: Any) -> None:
    """Else the masks of one text fall into the other, and what was found stays."""
    assert len({place for place, _, _ in texts(row)}) == len(list(texts(row)))
    made = json.dumps(scrubbed(row))
    assert "@" not in made
    assert "since 1999, [EMAIL]" in made
    assert hits_of(scrubbed(row)) == {}


@pytest.mark.parametrize(
    ("text", "made"),
    [
        (
            json.dumps({"m": "登录密码：Abc123xyz9"}),
            json.dumps({"m": "登录密码："})[:-2] + '[PASSWORD]"}',
        ),
        (json.dumps({"密码": "Abc123xyz9"}), json.dumps({"密码": "[PASSWORD]"})),
        (json.dumps({"m": "a\nbob@acme.com"}), json.dumps({"m": "a\n[EMAIL]"})),
        (json.dumps({"m": "中bob@acme.com"}), json.dumps({"m": "中[EMAIL]"})),
        (
            json.dumps({"m": json.dumps({"n": "中\tbob@acme.com"})}),
            json.dumps({"m": json.dumps({"n": "中\t[EMAIL]"})}),
        ),
        ('{"card": 4111111111111111, "n": 1.0}', '{"card": "[BANK_CARD]", "n": 1.0}'),
        ('say("a\\nbob@acme.com")', 'say("a\\n[EMAIL]")'),
        ("bob＠ａｃｍｅ．ｃｏｍ", "[EMAIL]"),
        ("手机１３８００１３８０００。", "手机[PHONE]。"),
        ("bob\u200b@acme.com", "[EMAIL]"),
        ("card 4111\u00a01111\u20111111\u00a01111!", "card [BANK_CARD]!"),
        ("密码：Abc123xyz9（旧）", "密码：[PASSWORD]"),
    ],
)
def test_what_is_written_otherwise_is_found_and_what_is_json_stays_json(
    text: str, made: str
) -> None:
    assert masked(text, find(text)) == made
    if text.startswith("{"):
        json.loads(made)
    assert find(made) == []


def test_what_is_no_number_of_a_call_is_looked_into() -> None:
    row = {
        "id": "john.doe@acme.com",
        "type": "4111 1111 1111 1111",
        "card": 4111111111111111,
        "order_id": 13800138000,
        "phone": 13800138000,
        "label": True,
        "messages": [
            {"role": "assistant", "tool_calls": [{"id": "call a@b.io", "function": {"name": "f"}}]},
            {"role": "tool", "tool_call_id": "call a@b.io", "content": "ok"},
        ],
    }
    assert scrubbed(row) == row | {
        "id": "[EMAIL]", "type": "[BANK_CARD]", "card": "[BANK_CARD]", "phone": "[PHONE]",
    }  # fmt: skip
