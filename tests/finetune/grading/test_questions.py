"""A suite's lines: what is asked, what graders know, and what is wrong, told without quoting."""

import json
from typing import Any

import pytest

from faults import UserFault
from finetune.grading.questions import MOST_ROWS, Question, read_questions

USER = {"role": "user", "content": "Where?"}
SECRET = "canary4711"


def read(*rows: Any, template: Any = None) -> list[Question]:
    lines = [row if isinstance(row, bytes) else json.dumps(row).encode() for row in rows]
    return list(read_questions(lines, template))


def test_a_training_row_asks_all_but_its_last_answer_which_is_the_reference() -> None:
    system = {"role": "system", "content": "Be short."}
    row = {"messages": [system, USER, {"role": "assistant", "content": "Here."}], "tags": ["a"]}
    (found,) = read(row)
    assert found.messages == [system, USER]
    assert found.item["reference"] == "Here."
    assert found.tags == ("a",)


def test_openais_item_and_any_other_object() -> None:
    wrapped, plain, own = read(
        {"item": {"prompt": "a", "city": "Paris", "tags": "x"}},
        {"question": "b", "reference": "B"},
        {"item": {"messages": [USER]}},
    )
    assert wrapped.messages == [{"role": "user", "content": "a"}]
    assert (wrapped.item["city"], wrapped.tags) == ("Paris", ("x",))
    assert plain.messages == [{"role": "user", "content": "b"}]
    assert plain.item == {"question": "b", "reference": "B"}
    assert own.messages == [USER]


def test_a_prompt_with_a_suffix_is_a_hole_unless_messages_are_asked() -> None:
    row = {"prompt": "def f(x):", "suffix": "return y", "reference": " y = x; "}
    plain, wrapped, none = read(row, {"item": row}, {**row, "suffix": ""})
    assert (plain.messages, plain.suffix) == (
        [{"role": "user", "content": "def f(x):"}],
        "return y",
    )
    assert wrapped.suffix == "return y"
    assert none.suffix is None
    (filled,) = read(row, template=[{"role": "user", "content": "{{ item.prompt }}?"}])
    assert (filled.messages[0]["content"], filled.suffix) == ("def f(x):?", None)


def test_a_template_is_filled_from_the_item_and_a_path_points_into_it() -> None:
    row = {"item": {"city": "Paris", "talk": {"turns": [USER]}}}
    (filled,) = read(row, template=[{"role": "user", "content": "Where is {{ item.city }}?"}])
    assert filled.messages == [{"role": "user", "content": "Where is Paris?"}]
    (pointed,) = read(row, template="item.talk.turns")
    assert pointed.messages == [USER]
    (text,) = read(row, template="item.city")
    assert text.messages == [{"role": "user", "content": "Paris"}]


def test_lines_keep_their_numbers_across_empty_ones() -> None:
    asked = {"prompt": "a"}
    assert [each.number for each in read(asked, b"", b"  \n", asked)] == [1, 4]
    assert [each.number for each in read(b"\xef\xbb\xbf" + json.dumps(asked).encode())] == [1]


@pytest.mark.parametrize(
    ("row", "template"),
    [
        (f"no json {SECRET}".encode(), None),
        (f'["{SECRET}"]'.encode(), None),
        (b'{"prompt": "\xff"}', None),
        (b'{"prompt": NaN}', None),
        (b'{"prompt": "\\ud800"}', None),
        (b"[" * 100_000, None),
        ({"prompt": [SECRET]}, None),
        ({"text": SECRET}, None),
        ({"messages": []}, None),
        ({"messages": [{"role": SECRET, "content": "a"}]}, None),
        ({"messages": [{"role": "user", "content": [{"type": "text", "text": SECRET}]}]}, None),
        ({"prompt": "a", "tags": [SECRET * 9]}, None),
        ({"prompt": "a", "tags": {"a": SECRET}}, None),
        ({"prompt": SECRET}, [{"role": "user", "content": "{{ item.city }}"}]),
        ({"prompt": SECRET}, "item.city"),
        ({"prompt": {"a": SECRET}}, "item.prompt"),
        ({"prompt": SECRET * 200_000}, None),
    ],
)
def test_a_bad_row_is_told_by_its_line_and_not_quoted(row: Any, template: Any) -> None:
    with pytest.raises(UserFault) as refused:
        read({"prompt": "a", "city": "b"}, row, template=template)
    assert refused.value.code == "bad_suite_row"
    assert refused.value.where == "line 2"
    assert SECRET not in str(refused.value)


def test_no_rows_and_too_many() -> None:
    with pytest.raises(UserFault, match="no rows"):
        read()
    with pytest.raises(UserFault, match=f"{MOST_ROWS:,} rows"):
        read(*[b'{"prompt": "a"}'] * (MOST_ROWS + 1))


@pytest.mark.parametrize(
    "row", [b'{"prompt": "a", "n": 1' + b"0" * 400 + b"}", b'{"prompt": "\\ud800"}',
            b'{"prompt": "a", "n": 1e999}'],
)  # fmt: skip
def test_what_could_not_be_read_again_is_no_row(row: bytes) -> None:
    with pytest.raises(UserFault) as refused:
        list(read_questions([row]))
    assert (refused.value.code, refused.value.where) == ("bad_suite_row", "line 1")


def test_a_template_makes_no_gigabytes_of_a_small_file() -> None:
    row = json.dumps({"item": {"long": "x" * 200_000}}).encode()
    template = [{"role": "user", "content": "{{ item.long }}" * 5}] * 64
    with pytest.raises(UserFault, match="million characters"):
        list(read_questions([row] * 50, template))


def test_small_values_and_tags_are_bounded_for_all_rows_together() -> None:
    row = b'{"prompt": "a", "of": [' + b",".join([b"{}"] * 200_000) + b"]}"
    with pytest.raises(UserFault, match="values together"):
        list(read_questions([row] * 30))
    tagged = [json.dumps({"prompt": "a", "tags": [f"t{n}"]}).encode() for n in range(501)]
    assert len(list(read_questions(tagged[:500]))) == 500
    with pytest.raises(UserFault, match="different tags"):
        list(read_questions(tagged))
