"""The demo's rows: real grammar, one meaning each, and held-out questions that are held out."""

import json
from pathlib import Path

import pytest

from privatune.demo.commands import (
    Command,
    compact,
    heldout_commands,
    meanings,
    train_commands,
    write_rows,
)
from privatune.demo.grammar import INTENTS, Grammar
from privatune.demo.home import DEVICES, HELDOUT_DEVICES


@pytest.fixture(scope="module")
def grammar() -> Grammar:
    return Grammar(seed=0)


@pytest.fixture(scope="module")
def train(grammar: Grammar) -> list[Command]:
    return train_commands(grammar)


@pytest.fixture(scope="module")
def heldout(grammar: Grammar) -> list[Command]:
    return heldout_commands(grammar)


def test_the_same_seed_draws_the_same_rows(train: list[Command], heldout: list[Command]) -> None:
    again = Grammar(seed=0)
    assert train_commands(again) == train
    assert heldout_commands(again) == heldout
    assert train_commands(Grammar(seed=1)) != train


def test_no_command_is_drawn_twice(train: list[Command], heldout: list[Command]) -> None:
    said = [command.text for command in train + heldout]
    assert len(said) == len(set(said))


def test_heldout_templates_are_used_by_no_training_row(
    train: list[Command], heldout: list[Command]
) -> None:
    trained = {(command.template.intent, command.template.text) for command in train}
    asked = {(command.template.intent, command.template.text) for command in heldout}
    assert len(asked) >= 30
    assert not trained & asked


def test_no_training_template_can_say_a_heldout_question(
    grammar: Grammar, train: list[Command], heldout: list[Command]
) -> None:
    trained = grammar.only({command.template for command in train})
    assert all(meanings(command.text, trained) for command in train[:50])
    assert not [command.text for command in heldout if meanings(command.text, trained)]


def test_heldout_questions_name_devices_that_training_never_names(
    train: list[Command], heldout: list[Command]
) -> None:
    unseen = {name for domain in DEVICES for name in HELDOUT_DEVICES[domain]}
    names = {json.loads(c.call)["name"] for c in heldout if c.template.domains}
    assert names
    assert names <= unseen
    assert not unseen & {json.loads(c.call).get("name") for c in train if c.template.domains}


def test_hassil_reads_the_one_same_meaning_in_every_row(
    grammar: Grammar, train: list[Command], heldout: list[Command]
) -> None:
    for command in train[::4] + heldout:
        assert meanings(command.text, grammar.parsed) == {command.call}, command.text


def test_each_heldout_question_asks_for_a_kind_of_call_that_training_has_phrased_twice(
    train: list[Command], heldout: list[Command]
) -> None:
    phrasings: dict[tuple[str, ...], set[str]] = {}
    for command in train:
        phrasings.setdefault(command.template.kind, set()).add(command.template.text)
    assert all(len(phrasings[command.template.kind]) >= 2 for command in heldout)
    assert {command.template.intent for command in train} == set(INTENTS)
    assert len({command.template.intent for command in heldout}) >= 8


def test_whatever_is_named_in_the_call_is_said_in_the_command(train: list[Command]) -> None:
    for command in train:
        call = json.loads(command.call)
        for slot in ("name", "area"):
            assert call.get(slot, "") in command.text


def test_a_call_is_compact_json_with_the_intent_first() -> None:
    call = compact("HassLightSet", {"temperature": 19.0, "area": "car", "name": "dome light"})
    assert call == '{"intent":"HassLightSet","name":"dome light","area":"car","temperature":19}'


def test_rows_are_written_in_openai_chat_form(tmp_path: Path, heldout: list[Command]) -> None:
    write_rows(tmp_path / "heldout.jsonl", heldout)
    rows = [json.loads(line) for line in (tmp_path / "heldout.jsonl").read_text().splitlines()]
    assert len(rows) == len(heldout)
    assert [m["role"] for m in rows[0]["messages"]] == ["system", "user", "assistant"]
    assert rows[0]["messages"][2]["content"] == heldout[0].call


def test_asking_for_more_than_the_grammar_can_say_is_refused() -> None:
    poor = Grammar(seed=0)
    poor.train = tuple(t for t in poor.train if t.text == "<timer_cancel> [the|my] timer")
    said = {command.text for command in train_commands(poor, 6)}
    assert said == {f"{verb} {a}timer" for verb in ("cancel", "stop") for a in ("", "the ", "my ")}
    with pytest.raises(ValueError, match="cannot say 7 different"):
        train_commands(poor, 7)


def test_a_few_shot_prompt_is_real_chat_turns(train: list[Command], heldout: list[Command]) -> None:
    prompt = heldout[0].question(train[:3])
    assert [m["role"] for m in prompt] == ["system", *["user", "assistant"] * 3, "user"]
    assert [m["content"] for m in prompt[1:7:2]] == [c.text for c in train[:3]]
    assert [m["content"] for m in prompt[2:7:2]] == [c.call for c in train[:3]]
    assert (prompt[0], prompt[-1]) == (heldout[0].question()[0], heldout[0].question()[-1])


def test_a_smaller_plan_takes_the_first_of_the_same_rows(
    grammar: Grammar, train: list[Command], heldout: list[Command]
) -> None:
    assert train_commands(grammar, 100) == train[:100]
    assert heldout_commands(grammar, 20) == heldout[:20]
