"""A profile counts the whole file and names rows and places, and nothing of what stands there."""

import json
from pathlib import Path
from typing import Any

import pytest

from faults import UserFault
from finetune.profiling.child import profile_in_child
from finetune.profiling.personal import Kind
from finetune.profiling.spec import ProfileReport, ProfileSpec, ScrubReport
from finetune.sandbox.levels import require
from tests.fixtures.jobs import chat_rows


def lines(rows: list[Any]) -> bytes:
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows).encode()


def profile(tmp_path: Path, rows: list[Any], **told: Any) -> tuple[ProfileReport, list[Any]]:
    report = run(tmp_path, rows, ProfileReport, **told)
    return report, read(tmp_path / "out" / "findings.jsonl")


def run(tmp_path: Path, rows: list[Any], report: Any, memory_mb: int = 512, **told: Any) -> Any:
    (tmp_path / "rows").write_bytes(lines(rows))
    if (against := told.pop("against", None)) is not None:
        (tmp_path / "against").write_bytes(lines(against))
        told["against"] = tmp_path / "against"
    spec = ProfileSpec(rows=tmp_path / "rows", **told)
    return profile_in_child(
        spec, tmp_path / "out", report, memory_mb=memory_mb, seconds=60, progress=None,
        level=require("require"),
    )  # fmt: skip


def read(path: Path) -> list[Any]:
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def chat(question: str, answer: str, **more: Any) -> dict[str, Any]:
    said = {"user": question, "assistant": answer}
    return {"messages": [{"role": r, "content": c} for r, c in said.items()], **more}


def test_what_is_counted_and_what_is_listed(tmp_path: Path) -> None:
    rows = [
        chat("请告诉我怎么重置路由器,我的电话是13800138000", "好的", tags=["网络"]),
        chat("Describe the long way from the station to the harbour.", "Left, then right."),
        chat("describe the long way from the station to the  harbour.", "Left, then right."),
        chat("Describe the long way from the station to the harbour!", "Left, then right."),
        chat(
            "Mail bob@corp.io and 13900139000, please", "Done, bob@corp.io", tags=["mail", "网络"]
        ),
    ]
    report, findings = profile(tmp_path, rows)
    assert (report.rows, report.compared, report.equal, report.near) == (5, 5, 1, 1)
    assert report.scripts == {"han": 1, "latin": 4}
    assert {kind: each.model_dump() for kind, each in report.personal.items()} == {
        Kind.EMAIL: {"rows": 1, "places": 2},
        Kind.PHONE: {"rows": 2, "places": 2},
    }
    assert (report.tagged, report.held_out) == (2, None)
    assert sum(each.rows for each in report.lengths) == 5
    assert report.length_percentiles["p100"] == 73
    assert [(each["row"], each["finding"], each.get("of")) for each in findings] == [
        (1, "phone", None), (5, "email", None), (5, "phone", None), (5, "email", None),
        (3, "repeat", 2), (4, "near_repeat", 2),
    ]  # fmt: skip
    assert findings[1] | {"row": 5} == {
        "row": 5, "finding": "email", "field": "messages[0].content", "start": 5, "end": 16,
    }  # fmt: skip
    assert json.loads((tmp_path / "out" / "tags.json").read_bytes()) == {"网络": 2, "mail": 1}
    kept = (tmp_path / "out" / "findings.jsonl").read_text() + report.model_dump_json()
    assert not any(word in kept for word in ("corp", "13800138000", "harbour", "路由器"))


def test_held_out_questions_are_found_in_training_rows_and_in_a_suites(tmp_path: Path) -> None:
    rows = [
        chat("How many moons does the planet Jupiter have today?", "95"),
        chat("What is the boiling point of water at sea level?", "100 °C"),
        chat("Why?", "Because."),
    ]
    suite = [
        {
            "item": {
                "question": "how many moons does the planet Jupiter have today?",
                "answer": "no",
            }
        },
        {"prompt": "What is the boiling point of water at the sea level?"},
        {"messages": [{"role": "user", "content": "Who wrote the Tale of Genji?"}]},
        {"item": {"question": "What is the boiling point of water at sea level?"}},
    ]
    report, findings = profile(tmp_path, rows, against=suite)
    assert report.held_out is not None
    assert report.held_out.model_dump() == {"rows": 4, "equal": 2, "near": 1, "rows_here": 2}
    assert [(each["row"], each["finding"], each["of"]) for each in findings] == [
        (1, "held_out", 1),
        (2, "held_out", 4),
    ]


def test_all_is_counted_and_the_first_is_listed(tmp_path: Path) -> None:
    rows = [chat(f"mail a{n}@corp.io about {n * n * 7919}", str(n) * 9) for n in range(6)]
    report, findings = profile(tmp_path, rows, listed=4)
    assert (report.findings >= 6, report.listed, len(findings)) == (True, 4, 4)
    assert report.personal[Kind.EMAIL].rows == 6


def test_a_scrub_masks_and_keeps_everything_else(tmp_path: Path) -> None:
    rows = [*chat_rows(2), chat("I am bob@corp.io, 13800138000", "Hi 😀"), *chat_rows(1, start=5)]
    report = run(tmp_path, rows, ScrubReport, kinds=(Kind.EMAIL,))
    made = read(tmp_path / "out" / "scrubbed.jsonl")
    assert [made[0], made[1], made[3]] == [rows[0], rows[1], rows[3]]
    assert made[2] == chat("I am [EMAIL], 13800138000", "Hi 😀")
    assert (report.rows, report.changed) == (4, 1)
    assert read(tmp_path / "out" / "findings.jsonl") == [
        {"row": 3, "masked": {"messages[0].content": [[5, 16, "email"]]}}
    ]


def test_groups_that_are_masked_stay_apart(tmp_path: Path) -> None:
    """Rows of one group stay on one side of a split; under one mask all would."""
    names = ("bob@corp.io", "ann@corp.io", "bob@corp.io", "shop 7")
    rows: list[Any] = [chat("a", "b", group=name) for name in names]
    rows.append({"messages": rows[0]["messages"][:1], "item": {"group": "ann@corp.io"}})
    run(tmp_path, rows, ScrubReport, kinds=(Kind.EMAIL,))
    made = read(tmp_path / "out" / "scrubbed.jsonl")
    groups = ["[EMAIL] 1", "[EMAIL] 2", "[EMAIL] 1", "shop 7", "[EMAIL] 2"]
    assert [row["group"] for row in made] == groups
    told = [each.get("group") for each in read(tmp_path / "out" / "findings.jsonl")]
    assert told == [name for name in groups if name != "shop 7"]


def test_a_profile_that_needs_too_much_memory_says_so(tmp_path: Path) -> None:
    with pytest.raises(UserFault, match="The profile needed more than 16 MB") as caught:
        run(tmp_path, chat_rows(3), ProfileReport, memory_mb=16)
    assert caught.value.code == "limit_memory"


def test_rows_that_are_no_json_ask_themselves(tmp_path: Path) -> None:
    (tmp_path / "rows").write_bytes(lines([{"text": "one page of words"}]))
    (tmp_path / "against").write_bytes(b"\xef\xbb\xbf[1]\n\none page of words\n" + b"[" * 100_000)
    spec = ProfileSpec(rows=tmp_path / "rows", against=tmp_path / "against")
    report = profile_in_child(
        spec, tmp_path / "out", ProfileReport, memory_mb=512, seconds=60, progress=None,
        level=require("require"),
    )  # fmt: skip
    assert report.held_out is not None
    assert (report.held_out.rows, report.held_out.equal) == (3, 1)
