"""Repetitions are those that comparing all with all finds; a question is told from its row."""

import random
from collections.abc import Sequence

import pytest

from finetune.profiling import repeats
from finetune.profiling.repeats import NEAR, Texts, across, within
from finetune.profiling.scripts import script_of
from finetune.profiling.shingles import jaccard, shingles, signature
from finetune.profiling.texts import folded, question_of, whole_of

WORDS = ("open", "close", "light", "window", "kitchen", "garden", "please", "tomorrow", "music")
SIGNS = "请打开关闭客厅卧室的灯和窗户明天早上七点播放音乐谢谢"


def kept(texts: Sequence[str]) -> Texts:
    found = Texts(lambda place: texts[place])
    for text in texts:
        found.add(text)
    return found


def changed(text: str, draw: random.Random) -> str:
    """A few letters of it otherwise."""
    letters = list(text)
    for _ in range(draw.randrange(1, 6)):
        letters[draw.randrange(len(letters))] = draw.choice("xyz中文")
    return "".join(letters)


def some_texts(count: int) -> list[str]:
    draw = random.Random(7)
    texts: list[str] = []
    for _ in range(count):
        if texts and draw.random() < 0.4:
            texts.append(changed(draw.choice(texts), draw))
        elif draw.random() < 0.5:
            texts.append(" ".join(draw.choices(WORDS, k=draw.randrange(10, 40))))
        else:
            texts.append("".join(draw.choices(SIGNS, k=draw.randrange(20, 90))))
    return texts


def test_near_repeats_are_those_of_comparing_all_with_all() -> None:
    texts = some_texts(400)
    runs = [shingles(folded(text)) for text in texts]
    wanted = {i for i in range(400) if any(jaccard(runs[i], runs[j]) >= NEAR for j in range(i))}
    found = {each.text: each for each in within(kept(texts))}
    assert found.keys() <= wanted
    assert len(found) >= 0.98 * len(wanted) > 50
    for each in found.values():
        assert each.of < each.text
        assert each.similarity == pytest.approx(jaccard(runs[each.text], runs[each.of]))


def test_across_two_files_each_is_found_once() -> None:
    texts = some_texts(200)
    held_out = [texts[5], changed(texts[9], random.Random(1)), "nothing like it in the other file"]
    assert [(each.text, each.of) for each in across(kept(held_out), kept(texts))] in (
        [(0, 5), (1, 9)],
        [(0, 5)],  # five letters of a short text are more than a fifth
    )
    assert [each.similarity for each in across(kept(held_out[:1]), kept(texts))] == [1.0]


def test_case_width_and_space_make_no_other_text() -> None:
    texts = ["Turn ON the light", "turn  on the\nlight ", "Ｔurn on the light", "turn it off"]
    assert [(each.text, each.of, each.similarity) for each in within(kept(texts))] == [
        (1, 0, 1.0),
        (2, 0, 1.0),
    ]


def test_signatures_agree_as_often_as_the_texts_are_alike() -> None:
    texts = some_texts(60)
    runs = [shingles(text) for text in texts]
    errors = [
        (signature(one) == signature(other)).mean() - jaccard(one, other)
        for one in runs
        for other in runs
    ]
    assert abs(sum(errors) / len(errors)) < 0.01


def test_beyond_the_bound_only_equal_texts_are_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(repeats, "MOST_COMPARED", 2)
    texts = ["a long enough sentence here", "b", "a long enough sentence, here", "b"]
    found = kept(texts)
    assert found.compared == 2
    assert [(each.text, each.of) for each in within(found)] == [(3, 1)]


@pytest.mark.parametrize("text", ["", "a", "\ud800", "中", "a" * 100_000])
def test_any_text_has_a_signature(text: str) -> None:
    assert len(signature(shingles(text))) == 64


def test_the_question_is_what_the_user_says() -> None:
    row = {
        "messages": [
            {"role": "system", "content": "Be kind."},
            {"role": "user", "content": "Why?"},
            {"role": "assistant", "content": "So."},
        ],
        "tags": ["why"],
    }
    assert question_of(row) == "Why?"
    assert whole_of(row) == "Be kind.\nWhy?\nSo."
    assert question_of({"item": {"question": "Why?", "answer": "So."}}) == "Why?"
    assert question_of({"text": "A page."}) == "A page."
    assert question_of({"item": {"a": "x", "b": ["y"]}}) == "x\ny"


@pytest.mark.parametrize(
    ("text", "script"),
    [
        ("请打开客厅的灯", "han"),
        ("Turn on the light", "latin"),
        ("请用 Python 写一个快速排序", "han"),
        ("翻译: hello, how are you? 你好吗", "mixed"),
        ("電気をつけてください", "kana"),
        ("불을 켜 주세요", "hangul"),
        ("Включи свет", "cyrillic"),
        ("123 + 45", "none"),
    ],
)
def test_scripts_are_told_by_letters(text: str, script: str) -> None:
    assert script_of(text) == script
