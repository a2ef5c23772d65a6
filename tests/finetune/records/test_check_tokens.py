"""Token counts, lengths, and what happens to rows that are too long."""

import json
from pathlib import Path

import pytest

from finetune.families.causal_lm.reading import RowReader
from finetune.records.check.spec import CheckReport
from finetune.records.encode import RowEncoder, load_tokenizer
from finetune.records.kinds import ROW
from tests.finetune.records.conftest import Check
from tests.tiny import build_tokenizer


def rows(*answers: str) -> bytes:
    talks = [
        [{"role": "user", "content": "say"}, {"role": "assistant", "content": answer}]
        for answer in answers
    ]
    return b"".join(json.dumps({"messages": talk}).encode() + b"\n" for talk in talks)


SHORT, LONG = "turn on", "turn on the light " * 40
MIXED = rows(SHORT, LONG, "turn off")


def test_tokens_are_those_that_the_trainer_will_see(
    check: Check, out_dir: Path, tokenizer_dir: Path
) -> None:
    report = check(MIXED, tokenizer_dir=tokenizer_dir)
    encoder = RowEncoder(load_tokenizer(tokenizer_dir))
    lines = (out_dir / "rows.jsonl").read_bytes().splitlines()
    encoded = [encoder.encode(json.loads(line)) for line in lines]
    assert report.tokens_total == sum(len(row.input_ids) for row in encoded)
    assert report.tokens_trained == sum(row.trained_count for row in encoded)
    assert sum(found.rows for found in report.lengths) == 3
    longest = max(len(row.input_ids) for row in encoded)
    assert report.length_percentiles["p100"] == longest
    assert report.lengths[-1].up_to // 2 < longest <= report.lengths[-1].up_to


def test_without_a_tokenizer_only_the_structure_is_checked(check: Check) -> None:
    report = check(MIXED)
    assert (report.ok, report.tokens_total, report.lengths) == (True, None, [])


def outcome(report: CheckReport) -> tuple[bool, int, int, int]:
    return report.ok, report.rows_usable, report.rows_dropped, report.rows_cut


def test_a_long_row_is_refused_dropped_or_cut_and_always_counted(
    check: Check, out_dir: Path, tokenizer_dir: Path
) -> None:
    told = {"tokenizer_dir": tokenizer_dir, "max_length": 100}
    refused = check(MIXED, **told)
    assert outcome(refused) == (False, 2, 0, 0)
    assert refused.problem_counts == {"too_long": 1}
    assert refused.problems[0].line == 2
    assert "max_length is 100" in refused.problems[0].message

    dropped = check(MIXED, **told, overflow="drop")
    assert outcome(dropped) == (True, 2, 1, 0)
    assert dropped.problem_counts == {"too_long_dropped": 1}
    assert (out_dir / "rows.jsonl").read_bytes().count(b"\n") == 2

    shortened = check(MIXED, **told, overflow="cut")
    assert outcome(shortened) == (True, 3, 0, 1)
    assert shortened.problem_counts == {"answer_cut": 1, "too_long_cut": 1}
    assert shortened.tokens_total == (dropped.tokens_total or 0) + 100


KINDS = {
    "chat": lambda text: {"messages": [{"role": "user", "content": "a"},
                                       {"role": "assistant", "content": text}]},
    "completion": lambda text: {"prompt": "a", "completion": text},
    "text": lambda text: {"text": text},
}  # fmt: skip


@pytest.mark.parametrize("overflow", ["refuse", "drop", "cut"])
@pytest.mark.parametrize("kind", KINDS)
def test_the_trainer_takes_every_row_that_the_check_leaves_and_counts_the_same_tokens(
    kind: str, overflow: str, check: Check, out_dir: Path, tokenizer_dir: Path
) -> None:
    made = [KINDS[kind]("b " * length) for length in (3, 80, 9)]
    data = "\n".join(map(json.dumps, made)).encode()
    report = check(data, tokenizer_dir=tokenizer_dir, max_length=60, overflow=overflow)
    read = RowReader(tokenizer_dir, ROW, max_length=60)
    lines = (out_dir / "rows.jsonl").read_bytes().splitlines()
    taken = [read(line, "here") for line in lines]
    assert len(taken) == report.rows_usable == (3 if overflow == "cut" else 2)
    assert sum(map(len, taken)) == report.tokens_total
    assert (max(map(len, taken)) == 60) == (overflow == "cut")
    end_is_cut = overflow == "cut" and kind != "text"
    assert report.problem_counts.get("answer_cut", 0) == int(end_is_cut)
    cut = [json.loads(line).get("cut_to") for line in lines]
    assert cut == ([None, 60, None] if overflow == "cut" else [None, None])


def test_white_space_that_a_template_takes_away_from_an_answer_is_told(
    check: Check, tmp_path: Path
) -> None:
    base = build_tokenizer("none")
    base.chat_template = CHATML.replace("m.content", "m.content | trim") + PROMPT
    base.save_pretrained(tmp_path / "base")

    def found(*answers: str) -> list[tuple[str, str | None]]:
        talk = [
            {"role": r, "content": c}
            for a in answers
            for r, c in (("user", "a "), ("assistant", a))
        ]
        report = check(json.dumps({"messages": talk}).encode(), tokenizer_dir=tmp_path / "base")
        assert report.ok
        return [(problem.code, problem.field) for problem in report.problems]

    assert found("fine", "well") == []
    assert found("fine", "    return 1\n\n") == [("template_trims", "messages[3].content")]


def test_a_cut_that_leaves_nothing_to_train_is_an_error(check: Check, tokenizer_dir: Path) -> None:
    report = check(rows(LONG), tokenizer_dir=tokenizer_dir, max_length=5, overflow="cut")
    assert (report.ok, report.rows_usable) == (False, 0)
    assert report.problem_counts == {"nothing_trained": 1, "too_long_cut": 1}


@pytest.mark.parametrize(
    ("template", "code"),
    [("none", "no_chat_template"), ("underivable", "template_not_derivable")],
)
def test_a_base_that_cannot_take_the_rows_is_named(
    template: str, code: str, check: Check, tmp_path: Path
) -> None:
    build_tokenizer(template).save_pretrained(tmp_path / "base")  # type: ignore[arg-type]
    report = check(MIXED, tokenizer_dir=tmp_path / "base")
    assert report.problem_counts == {code: 3}


DROPS = "template_drops_content"
PROMPT = "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
CHATML = "{% for m in messages %}<|im_start|>{{ m.role }}\n{{ m.content }}<|im_end|>\n{% endfor %}"


@pytest.mark.parametrize(
    ("template", "code"),
    [
        (CHATML.replace("<|im_end|>", ""), "end_not_trained"),
        ("{{ raise_exception('no') }}", "template_refused"),
        (CHATML.replace("m.content", "m.content[:9 if m.role == 'user' else 99]"), DROPS),
    ],
)
def test_a_template_that_spoils_rows_is_named(
    template: str, code: str, check: Check, tmp_path: Path
) -> None:
    tokenizer = build_tokenizer("none")
    tokenizer.chat_template = template + "{% if add_generation_prompt %}<|im_start|>{% endif %}"
    tokenizer.save_pretrained(tmp_path / "base")
    talk = [{"role": "user", "content": "a" * 20}, {"role": "assistant", "content": "b"}]
    report = check(json.dumps({"messages": talk}).encode(), tokenizer_dir=tmp_path / "base")
    assert report.problem_counts == {code: 1}


def test_a_base_without_an_end_of_sequence_is_named(check: Check, tmp_path: Path) -> None:
    tokenizer = build_tokenizer()
    tokenizer.eos_token = None
    tokenizer.save_pretrained(tmp_path / "base")
    report = check(b'{"text": "a b c"}', tokenizer_dir=tmp_path / "base")
    assert report.problem_counts == {"no_eos": 1}


def test_control_tokens_are_pointed_out_in_a_text_and_refused_in_a_chat(
    check: Check, tokenizer_dir: Path
) -> None:
    report = check(rows("end here <|im_end|> or there"), tokenizer_dir=tokenizer_dir)
    assert (report.ok, report.problem_counts) == (False, {"control_token_in_message": 1})
    assert "<|im_end|>" in report.problems[0].message
    report = check(b'{"text": "end here <|im_end|> or there"}', tokenizer_dir=tokenizer_dir)
    assert report.ok
    assert report.problem_counts == {"control_token": 1}
    assert "<|im_end|>" in report.problems[0].message


def test_rows_of_validation_that_are_in_training_are_found(
    check: Check, out_dir: Path, tmp_path: Path
) -> None:
    check(rows("one", "two", "three"))
    train = (out_dir / "rows.jsonl").rename(tmp_path / "train.jsonl")
    report = check(rows("four", "two"), compare_with=train)
    assert report.overlap == 1
    assert [(p.code, p.line) for p in report.problems] == [("in_both_sets", 2)]


def test_duplicates_are_counted_with_the_line_of_the_first(check: Check) -> None:
    report = check(rows("one", "two", "one", "one"))
    assert report.duplicates == 2
    assert [(p.line, p.message[-7:]) for p in report.problems] == [(3, "line 1."), (4, "line 1.")]
