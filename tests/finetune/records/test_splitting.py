"""Rows kept apart for validation have no twin among those that are trained."""

import json
import random
from string import ascii_lowercase
from typing import Any

import pytest

from faults import UserFault
from finetune.records import splitting
from finetune.records.splitting import split


def said(seed: int, words: int = 40) -> str:
    chance = random.Random(seed)
    return " ".join("".join(chance.choices(ascii_lowercase, k=6)) for _ in range(words))


def chat(text: str, system: str = "You are helpful.", **more: Any) -> dict[str, Any]:
    turns = [("system", system), ("user", text), ("assistant", text[::-1])]
    return {"messages": [{"role": role, "content": words} for role, words in turns]} | more


def lines(rows: list[dict[str, Any]]) -> list[bytes]:
    return [json.dumps(row, ensure_ascii=False).encode() for row in rows]


def test_a_share_is_drawn_by_the_seed_alone() -> None:
    rows = lines([chat(said(n)) for n in range(200)])
    first = split(rows, share=0.1, seed=7)
    assert (len(first.held_out), first.rows, first.clusters) == (20, 200, 0)
    assert split(iter(rows), share=0.1, seed=7) == first
    other = split(rows, share=0.1, seed=8)
    assert other.held_out != first.held_out
    assert other.sha256 != first.sha256
    assert sorted([*first.held_out, *first.kept]) == list(range(200))


@pytest.mark.parametrize("seed", range(5))
def test_a_group_stays_on_one_side(seed: int) -> None:
    rows = lines([chat(said(n), group=f"patient {n % 9}") for n in range(90)])
    found = split(rows, share=0.25, seed=seed)
    assert found.clusters == 9
    assert len(found.held_out) == 20
    sides = {number % 9 for number in found.held_out}
    assert len(sides) == 2
    assert not sides & {number % 9 for number in found.kept}


@pytest.mark.parametrize(
    "twin",
    [
        lambda text: chat(text),
        lambda text: chat(text, system="Answer in verse, and never name the lamp."),
        lambda text: chat(text.upper().replace(" ", ",  ")),
        lambda text: chat(text[:30] + "zq" + text[32:]),
    ],
    ids=["equal", "another system prompt", "case and spaces", "two letters"],
)
def test_twins_stay_on_one_side(twin: Any) -> None:
    texts = [said(n) for n in range(60)]
    rows = lines([chat(text) for text in texts] + [twin(text) for text in texts])
    for seed in range(3):
        found = split(rows, share=0.2, seed=seed)
        assert found.clusters >= 57  # a sketch is drawn, and may miss a few
        apart = {number % 60 for number in found.held_out}
        shared = apart & {number % 60 for number in found.kept}
        assert len(apart) >= 12
        assert len(shared) <= 1


def test_rows_that_only_share_much_are_no_twins() -> None:
    rows = lines([chat(f"turn on the light in room {n} of house {n * n}") for n in range(50)])
    assert split(rows, share=0.2, seed=1).clusters < 10
    half = [said(0, 20) + " " + said(n, 20) for n in range(1, 50)]
    assert split(lines([chat(text) for text in half]), share=0.2, seed=1).clusters == 0


@pytest.mark.parametrize(
    "make",
    [
        lambda n: {"text": said(n)},
        lambda n: {"prompt": "?", "completion": said(n)},
        lambda n: {"ids": [hash((n, i)) % 999 for i in range(50)]},
        lambda n: {"prompt": said(n), "chosen": "yes", "rejected": "no"},
        lambda n: {
            "messages": [{"role": "user", "content": said(n)}],
            "chosen": [{"role": "assistant", "content": "yes"}],
            "rejected": [
                {"role": "assistant", "content": None, "tool_calls": [{"function": {"name": "f"}}]}
            ],
        },
        lambda n: chat("在第" + "一二三四五六七八九十"[n % 10] * (n + 5) + "个房间打开灯"),
    ],
    ids=["text", "completion", "chunk", "pair", "chat pair", "chinese"],
)
def test_every_kind_of_row_is_told_apart_and_with_its_twin(make: Any) -> None:
    rows = lines([make(n) for n in range(10)] * 2)
    found = split(rows, share=0.3, seed=3)
    assert found.clusters == 10
    assert len(found.held_out) == 6
    assert {n % 10 for n in found.held_out}.isdisjoint(n % 10 for n in found.kept)


def test_rows_that_cannot_be_parted_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    for rows in ([chat("one")], [chat("one")] * 30, [chat(said(n), group=1) for n in range(30)]):
        with pytest.raises(UserFault) as raised:
            split(lines(rows), share=0.2, seed=1)
        assert (raised.value.code, raised.value.param) == ("split_impossible", "validation_split")
    monkeypatch.setattr(splitting, "MOST_ROWS", 5)
    with pytest.raises(UserFault, match="more than 5 rows"):
        split(lines([chat(said(n)) for n in range(6)]), share=0.5, seed=1)
