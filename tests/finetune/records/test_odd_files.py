"""What spreadsheets, exports and other systems leave in files: read with a notice where that is
certain, else told once for each cause."""

import json
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.records.check.columns import as_written, check_columns, parse_columns, propose
from finetune.records.check.encodings import encoding_of
from tests.finetune.records.conftest import Check
from tests.fixtures.odd_files import CHINESE, ODD


def rows_in(out_dir: Path) -> list[Any]:
    return [json.loads(line) for line in (out_dir / "rows.jsonl").read_bytes().splitlines()]


@pytest.mark.parametrize("case", ODD)
def test_an_odd_file_is_told_by_its_cause(case: str, check: Check) -> None:
    odd = ODD[case]
    report = check(odd.data, odd.name)
    assert tuple((p.code, p.line) for p in report.problems) == odd.found
    assert report.problem_counts == odd.problem_counts
    assert (report.rows_usable, report.ok) == (odd.usable, odd.usable > 0)
    assert all(p.fix for p in report.problems)


@pytest.mark.parametrize("encoding", ["gbk", "gb18030", "utf-16", "utf-16-le", "utf-16-be"])
def test_chinese_is_read_as_it_was_written(encoding: str, check: Check, out_dir: Path) -> None:
    check(CHINESE.encode(), "a.csv")
    as_utf8 = rows_in(out_dir)
    assert check(CHINESE.encode(encoding), "a.csv").ok
    assert rows_in(out_dir) == as_utf8
    assert as_utf8[0] == {"prompt": "今天的天气怎么样", "completion": "今天是晴天"}


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
@pytest.mark.parametrize(
    "text",
    [
        "问题,答案\n一共有几个月,一年有十二个月\n"
        * 3,  # U+4E00, which has its NUL on the other side
        "这是一个测试。\n\n今天天气很好，我们去公园。\n" * 5,
        "今日の天気はどうですか\n\n今日は晴れです\n" * 5,
    ],
)
def test_utf16_without_a_mark_is_told_by_its_characters_where_it_has_hardly_any_ascii(
    order: str, text: str
) -> None:
    assert encoding_of(text.encode(order)) == order


@pytest.mark.parametrize("order", ["utf-16-le", "utf-16-be"])
def test_utf16_of_which_the_order_is_unsure_is_not_read_as_something_else(
    order: str, check: Check
) -> None:
    report = check("오늘 날씨가 어떻습니까".replace(" ", "").encode(order) + "\n".encode(order))
    assert report.problem_counts == {"other_encoding": 1}
    assert "unsure" in report.problems[0].message


def test_prose_in_a_file_of_json_lines_is_one_finding(check: Check) -> None:
    prose = b"It was a dark night.\nNobody spoke.\n\nThen it rained.\n" * 50
    report = check(prose, "a.jsonl")
    assert [(p.code, p.line) for p in report.problems] == [("not_json_lines", 1)]
    assert report.problem_counts == {"not_json_lines": 1}
    for some in (b'{"text": "a"}\n', b'{"text": "a"\n', b"[1]\n"):  # then each line is told
        codes = {p.code for p in check(prose[:40] + b"\n" + some, "a.jsonl").problems}
        assert "invalid_json" in codes
        assert "not_json_lines" not in codes


@pytest.mark.parametrize(
    ("encoding", "text"),
    [
        ("euc-kr", "오늘 날씨가 어떻습니까,오늘은 맑습니다"),
        ("euc-jp", "今日の天気はどうですか,今日は晴れです"),
        ("shift-jis", "今日の天気はどうですか,今日は晴れです"),
        ("big5", "今天的天氣怎麼樣,今天是晴天"),
        ("koi8-r", "Какая сегодня погода,Сегодня ясно"),
        ("cp1251", "Какая сегодня погода,Сегодня ясно"),
        ("cp1252", "Wie schön ist das Wetter?,Überall Sonne"),
    ],
)
def test_no_other_encoding_is_taken_for_chinese(encoding: str, text: str, check: Check) -> None:
    data = b"prompt,completion\n" + f"{text}\n".encode(encoding) * 9
    report = check(data, "a.csv")
    assert report.problem_counts == {"other_encoding": 1}


def test_an_encoding_that_does_not_hold_to_the_end_is_told_once(check: Check) -> None:
    report = check(CHINESE.encode("gbk") * 40_000 + b"\xff\xff,a\n", "a.csv")
    assert (report.ok, report.problem_counts["other_encoding"]) == (False, 1)


def test_a_line_that_is_damaged_is_still_named_among_good_ones(check: Check) -> None:
    report = check("prompt,completion\nä,ö\nü,ß\n".encode() + b"\xe4,a\n", "a.csv")
    assert [(p.code, p.line) for p in report.problems] == [("invalid_utf8", 4)]


def test_a_cell_is_measured_as_excel_counts(check: Check) -> None:
    """Characters beyond the first 65,536 count twice there."""
    for cell in ("x" * 32_767, "😀" * 16_383 + "x"):
        assert check(f"prompt,completion\na,{cell}\n".encode(), "a.csv").problem_counts == {
            "cell_limit": 1
        }
    for cell in ("x" * 32_766, "😀" * 32_767):
        assert check(f"prompt,completion\na,{cell}\n".encode(), "a.csv").problem_counts == {}


def test_what_stands_in_a_column_without_a_name_is_told(check: Check) -> None:
    report = check(b",prompt,completion\n0,a,b\n1,c,d\n", "a.csv")
    assert report.problem_counts == {"unnamed_column": 1, "unknown_field": 2}
    assert [(p.code, p.line, p.field) for p in report.problems] == [
        ("unnamed_column", 1, None),
        ("unknown_field", 2, "column 1"),
    ]


def test_a_field_that_no_format_knows_is_listed_once_and_counted(check: Check) -> None:
    row = b'{"prompt": "a%d", "completion": "b", "source": "x"}\n'
    report = check(b"".join(row % number for number in range(50)))
    assert report.problem_counts == {"unknown_field": 50}
    assert [(p.line, p.field) for p in report.problems] == [(1, "source")]


PROPOSED = {
    "question,answer": {"instruction": "question", "output": "answer"},
    "input,output": {"instruction": "input"},
    "instruction,response": {"output": "response"},
    "Question,Context,Answer": {"instruction": "Question", "output": "Answer", "input": "Context"},
    "instruction,context,response": {"output": "response", "input": "context"},
    "prompt,answer": {"instruction": "prompt", "output": "answer"},
    "问题,回答": {"instruction": "问题", "output": "回答"},
    "context": {"text": "context"},
}


@pytest.mark.parametrize("header", PROPOSED)
def test_similar_names_are_proposed_and_the_proposal_reads_the_file(
    header: str, check: Check, out_dir: Path
) -> None:
    cells = header.split(",")
    data = f"{header}\n{','.join(f'{cell} 1' for cell in cells)}\n".encode()
    refused = check(data, "a.csv")
    assert (len(refused.problems), refused.problems[0].line) == (1, 1)
    proposal = str(refused.problems[0].values["proposal"])
    assert parse_columns(proposal) == PROPOSED[header]
    assert proposal in refused.problems[0].fix

    report = check(data, "a.csv", columns=PROPOSED[header])
    assert (report.ok, report.rows_usable, report.columns) == (True, 1, PROPOSED[header])
    assert report.problems == []
    # the same words as JSON lines are proposed the same, once for all rows, and give the same rows
    table = rows_in(out_dir)
    as_json = json.dumps({cell: f"{cell} 1" for cell in cells}).encode() + b"\n"
    told = check(as_json * 20)
    assert [p.values["proposal"] for p in told.problems if p.code != "unknown_field"] == [proposal]
    assert check(as_json, columns=PROPOSED[header]).ok
    assert rows_in(out_dir) == table


@pytest.mark.parametrize("given", [{"instruction": "question"}, {"output": "answer"}])
def test_a_proposal_holds_the_mapping_that_was_given(given: dict[str, str], check: Check) -> None:
    whole = {"instruction": "question", "output": "answer"}
    for data, name in (
        (b"question,answer\na,b\n", "a.csv"),
        (b'{"question": "a", "answer": "b"}\n', "a.jsonl"),
    ):
        told = check(data, name, columns=given).problems
        proposed = {str(p.values["proposal"]) for p in told if "proposal" in p.values}
        assert [parse_columns(each) for each in proposed] == [whole]
        assert check(data, name, columns=whole).ok


def test_a_column_that_has_its_field_is_proposed_for_no_other() -> None:
    assert propose(["input", "answer"], {"input": "question"}) == {}


def test_nothing_is_proposed_where_nothing_is_likely() -> None:
    for names in (["id", "date"], ["answer"], ["a=b", "answer"], ["question", "a,b"]):
        assert propose(names) == {}


_MANY = [f"k{number}" + "x" * 300 for number in range(3000)]
_CELL = "x" * 32_767
HOSTILE = {
    "names.jsonl": json.dumps(dict.fromkeys(_MANY, 1)) + "\n",
    "names.csv": ",".join(_MANY) + "\n",
    "twice.csv": ",".join([*_MANY, _MANY[-1]]) + "\n",
    "cell.csv": f"prompt,completion,{'n' * 90_000}\na,b,{_CELL}\n",
    "key.jsonl": '{"%s": 1, "%s": 2}\n' % (("k" * 90_000,) * 2),
    "surrogate.jsonl": '{"prompt": "a", "%s": "\\ud800"}\n' % ("k" * 90_000),
    "unknown.jsonl": json.dumps({"prompt": "a", "completion": "b", "k" * 90_000: 1}) + "\n",
    "role.jsonl": json.dumps({"messages": [{"role": "r" * 90_000, "content": "a"}]}) + "\n",
    "weight.jsonl": json.dumps(
        {"messages": [{"role": "assistant", "content": "a", "weight": "w" * 90_000}]}
    )
    + "\n",
    "part.jsonl": json.dumps({"messages": [{"role": "user", "content": [{"type": "t" * 90_000}]}]})
    + "\n",
    "from.jsonl": json.dumps({"conversations": [{"from": "f" * 90_000, "value": "a"}]}) + "\n",
}


@pytest.mark.parametrize("name", HOSTILE)
def test_no_finding_grows_with_what_a_file_calls_its_fields(name: str, check: Check) -> None:
    report = check(HOSTILE[name].encode(), name)
    assert report.problems
    assert max(len(problem.model_dump_json()) for problem in report.problems) < 3000


def test_a_format_that_cannot_be_told_names_some_fields_and_how_many_more(check: Check) -> None:
    (problem,) = check(json.dumps(dict.fromkeys("edcbafgh", 1)).encode()).problems
    assert problem.values["fields"] == "a, b, c, d, e, … (+3)"


def test_a_column_that_the_mapping_sets_aside_is_told(check: Check, out_dir: Path) -> None:
    columns = {"instruction": "question", "output": "better"}
    report = check(b"question,output,better\na,b,c\n", "a.csv", columns=columns)
    assert [(p.code, p.field) for p in report.problems] == [("unknown_field", "output (replaced)")]
    assert rows_in(out_dir)[0]["messages"][1]["content"] == "c"


def test_columns_may_be_swapped_and_hold_json(check: Check, out_dir: Path) -> None:
    swapped = {"prompt": "completion", "completion": "prompt"}
    check(b"completion,prompt\na,b\n", "a.csv", columns=swapped)
    assert rows_in(out_dir) == [{"prompt": "a", "completion": "b"}]
    turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
    cell = json.dumps(turns).replace('"', '""')
    assert check(f'talk\n"{cell}"\n'.encode(), "a.csv", columns={"messages": "talk"}).ok
    assert rows_in(out_dir) == [{"messages": turns}]


def test_a_mapping_of_a_column_that_is_not_there_is_one_finding(check: Check) -> None:
    columns = {"instruction": "q", "output": "answer"}
    report = check(b"question,answer\na,b\nc,d\n", "a.csv", columns=columns)
    assert [(p.code, p.line, p.field) for p in report.problems] == [
        ("missing_column", 1, "instruction")
    ]
    as_json = b'{"question": "a", "answer": "b"}\n'
    assert [p.code for p in check(as_json * 9, columns=columns).problems] == ["unknown_format"]


@pytest.mark.parametrize(
    "columns",
    [{"answer": "a"}, {"output": ""}, {"output": "x" * 201}, {"output": "a", "text": "a"}],
)
def test_what_cannot_be_a_mapping_is_refused(columns: dict[str, str]) -> None:
    with pytest.raises(UserFault) as refused:
        check_columns(columns)
    assert (refused.value.code, refused.value.param) == ("invalid_columns", "columns")


def test_a_mapping_is_written_as_it_is_read() -> None:
    columns = {"instruction": "the question", "output": "答案"}
    assert parse_columns(as_written(columns)) == columns
    assert parse_columns(" ") == {}
    for wrong in ("instruction", "output=a, output=b", "=a"):
        with pytest.raises(UserFault):
            parse_columns(wrong)


def test_a_mapping_may_be_written_on_a_chinese_keyboard() -> None:
    assert parse_columns("instruction＝问题，output＝回答") == {
        "instruction": "问题",
        "output": "回答",
    }
    assert propose(["question，", "answer"]) == {}


@pytest.mark.parametrize("name", ["ans\u200bwer", "answer\u202e", "a\tb", "\u3164"])
def test_a_columns_name_shows_all_that_it_holds(name: str) -> None:
    for give in (lambda: check_columns({"output": name}), lambda: parse_columns(f"output={name}")):
        with pytest.raises(UserFault) as refused:
            give()
        assert (refused.value.code, refused.value.param) == ("unreadable_text", "columns")


def test_a_mapping_is_read_without_regard_to_capitals(check: Check, out_dir: Path) -> None:
    columns = {"instruction": "question", "output": "ANSWER"}
    report = check(b"Question,Answer\na,b\n", "a.csv", columns=columns)
    assert report.ok
    assert [(p.code, p.field, p.values) for p in report.problems] == [
        ("field_spelling", "instruction", {"column": "Question", "meant": "question"}),
        ("field_spelling", "output", {"column": "Answer", "meant": "ANSWER"}),
    ]
    assert [turn["content"] for turn in rows_in(out_dir)[0]["messages"]] == ["a", "b"]
    # a column of just that name comes first, and no column is read twice
    exact = check(b"Q,q,answer\na,b,c\n", "a.csv", columns={"instruction": "q", "output": "answer"})
    assert [p.code for p in exact.problems] == ["unknown_field"]
    both = check(b"Q,answer\na,b\n", "a.csv", columns={"instruction": "Q", "output": "q"})
    assert [(p.code, p.field) for p in both.problems] == [("missing_column", "output")]


def test_memory_does_not_grow_with_a_file_in_another_encoding(check: Check) -> None:
    def peak(rows: int) -> int:
        data = (CHINESE.partition("\n")[0] + "\n").encode("gbk")
        data += f"{'今天的天气怎么样' * 6},今天是晴天\n".encode("gbk") * rows
        tracemalloc.start()
        check(data, "a.csv", limits={"listed": 1})
        most = tracemalloc.get_traced_memory()[1] - len(data)
        tracemalloc.stop()
        return most

    small = peak(20_000)  # over one chunk
    assert peak(60_000) < small * 1.5
