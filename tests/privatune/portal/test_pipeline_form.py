"""The form of a new pipeline: what is filled in is made, what is refused is said at its field."""

import re
from pathlib import Path
from typing import Any

import pytest

from finetune.models import Pipeline, Stage
from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tenants.services.tenants import add_member
from tests.finetune.services.jobs.test_validation import check
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, new_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def bench_person(bench: Bench) -> Any:
    person = new_person()
    add_member(tenant_id=bench.tenant.id, user=person, role=Role.ENGINEER, actor="test")
    return person


def ask(bench: Bench, language: str = "en", **filled: Any) -> Any:
    fields = {re.sub(r"^s(\d)_", r"\1-", name): value for name, value in filled.items()}
    form = {"model": "tiny", "adapter": "quick", "name": "in stages"} | fields
    address = f"/t/{bench.tenant.slug}/pipelines/new"
    return browser_of(bench_person(bench)).post(
        address, form, headers={"accept-language": language}
    )


def file_of(bench: Bench, start: int) -> str:
    return str(bench.add_file(jsonl(chat_rows(12, start=start))).id)


def beside(page: str, field: str) -> str:
    """What is said at the field of that name."""
    after = page.partition(f'name="{field}"')[2]
    found = re.search(r'role="alert">([^<]+)<', after.partition("form-label")[0])
    return found[1] if found else ""


def test_two_stages_are_made_as_they_were_filled_in(bench: Bench) -> None:
    answer = ask(
        bench,
        s0_training_file=file_of(bench, 0), s0_validation_split="0.25", s0_gate="better",
        s1_training_file=file_of(bench, 100), s1_method="supervised", s1_n_epochs="3",
        hold="1",
    )  # fmt: skip
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(bench.tenant.id):
        pipeline = Pipeline.objects.get()
        first, second = Stage.objects.order_by("number")
    assert answer["location"].endswith(f"/pipelines/{pipeline.id}/")
    assert (pipeline.name, pipeline.paused_at is not None) == ("in stages", True)
    assert (first.gate, second.gate) == ("better", "none")
    assert first.request["validation_split"] == 0.25
    assert first.request["adapter"]["r"] == 8
    assert second.request["hyperparameters"]["n_epochs"] == 3


@pytest.mark.parametrize(
    ("language", "said"),
    [("en", "Choose the data of this stage."), ("zh-hans", "请选择此阶段的数据。")],
)
def test_a_stage_that_was_left_out_is_named(bench: Bench, language: str, said: str) -> None:
    answer = ask(bench, language, s0_training_file=file_of(bench, 0))
    assert beside(answer.content.decode(), "1-training_file") == said
    gap = ask(
        bench, language, s0_training_file=file_of(bench, 0), s2_training_file=file_of(bench, 9)
    )
    assert beside(gap.content.decode(), "1-training_file") == said
    with tenant_scope(bench.tenant.id):
        assert not Pipeline.objects.exists()


def test_what_the_service_refuses_is_said_at_its_stage_and_nothing_is_lost(bench: Bench) -> None:
    answer = ask(
        bench,
        s0_training_file=file_of(bench, 0), s0_gate="better",
        s1_training_file=file_of(bench, 100), s1_n_epochs="7",
    )  # fmt: skip
    page = answer.content.decode()
    assert beside(page, "0-validation_file")
    assert not beside(page, "1-validation_file")
    assert 'value="7"' in page
    assert 'value="in stages"' in page


def test_a_stage_is_taken_away_and_those_behind_it_move_up(bench: Bench) -> None:
    answer = ask(
        bench, remove="0", stages="3",
        s0_training_file=file_of(bench, 0), s0_n_epochs="7",
        s1_training_file=(second := file_of(bench, 100)), s1_n_epochs="8", s1_gate="approval",
        s2_training_file=file_of(bench, 200), s2_n_epochs="9",
    )  # fmt: skip
    page = answer.content.decode()
    assert answer.status_code == 200
    epochs = re.findall(r'name="(\d)-n_epochs"(?: value="(\d+)")?', page)
    assert dict(epochs) | {"0": "8", "1": "9", "2": ""} == dict(epochs)
    first = page.partition('name="0-training_file"')[2].partition("</select>")[0]
    assert re.search(rf'value="{second}"[^>]*selected', first)
    assert '<input type="hidden" name="stages" value="2">' in page
    assert 'value="in stages"' in page
    assert "invalid-feedback" not in page, "nothing is asked yet"
    with tenant_scope(bench.tenant.id):
        assert not Pipeline.objects.exists()


@pytest.mark.parametrize("odd", ["x", "-1", "99", "²", "1" * 9])
def test_a_stage_that_is_none_takes_nothing_away(bench: Bench, odd: str) -> None:
    page = ask(bench, remove=odd, s0_n_epochs="7", s1_n_epochs="8").content.decode()
    epochs = dict(re.findall(r'name="(\d)-n_epochs"(?: value="(\d+)")?', page))
    assert (epochs["0"], epochs["1"]) == ("7", "8")


def test_all_that_is_wrong_with_stages_is_said_at_once(bench: Bench) -> None:
    rows = [{"prompt": f"lamp {n}?", "chosen": " on", "rejected": " off"} for n in range(8)]
    other, chats = check(bench, jsonl(rows))[0], check(bench, jsonl(chat_rows(8)))[0]
    given = {"s0_training_file": str(other.id), "s1_training_file": str(chats.id)}
    answer = ask(bench, **given, s1_method="dpo")
    page = answer.content.decode()
    assert "This file holds pairs" in beside(page, "0-training_file")
    assert "This file holds conversations" in beside(page, "1-training_file")
    answer = ask(
        bench,
        s0_training_file=file_of(bench, 0), s0_gate="better",
        s1_training_file=file_of(bench, 100), s1_gate="better",
        s2_training_file=file_of(bench, 200),
    )  # fmt: skip
    page = answer.content.decode()
    assert beside(page, "0-validation_file")
    assert beside(page, "1-validation_file")


def test_a_stage_is_rewarded_by_a_reward_model_of_an_earlier_one(bench: Bench) -> None:
    prompts = [{"messages": [{"role": "user", "content": f"lamp {n}"}], "letter": "e"}
               for n in range(8)]  # fmt: skip
    pairs = [{"prompt": f"lamp {n}?", "chosen": " on", "rejected": " off"} for n in range(8)]
    filled = {
        "s0_training_file": str(check(bench, jsonl(pairs))[0].id), "s0_method": "reward",
        "s1_training_file": str(check(bench, jsonl(prompts))[0].id), "s1_method": "reinforcement",
        "s1_max_completion_tokens": "8",
    }  # fmt: skip
    refused = ask(bench, **filled).content.decode()
    assert beside(refused, "1-reward_model")
    assert 'value="stage:1"' not in refused.partition('name="1-')[0], "no stage before the first"
    assert beside(
        ask(bench, **filled, s0_reward_model="stage:1").content.decode(), "0-reward_model"
    )
    answer = ask(bench, **filled, s1_reward_model="stage:1")
    assert answer.status_code == 302, beside(answer.content.decode(), "1-reward_model")
    with tenant_scope(bench.tenant.id):
        second = Stage.objects.get(number=2)
    assert second.request["grader"]["model"] == "stage:1"
    assert second.request["settings"] == {"max_completion_tokens": 8}
    page = browser_of(bench_person(bench)).get(answer["location"]).content.decode()
    assert "the reward model of stage 1" in page
    moved = ask(bench, remove="0", stages="3", **filled, s2_reward_model="stage:2").content.decode()
    rewards = moved.partition('name="1-reward_model"')[2].partition("</select>")[0]
    assert re.search(r'value="stage:1"[^>]*selected', rewards)


PROMPTS = [
    {"messages": [{"role": "user", "content": f"lamp {n}"}], "letter": "e"} for n in range(8)
]
ALL_ALIKE = (
    '{"type": "string_check", "name": "e", "operation": "like", '
    '"input": "{{ sample.output_text }}", "reference": "{{ item.letter }}"}'
)


def rewarded(bench: Bench, **filled: str) -> Any:
    prompts = str(check(bench, jsonl(PROMPTS))[0].id)
    given = {
        "s0_training_file": file_of(bench, 0), "s1_training_file": prompts,
        "s1_method": "reinforcement", "s1_max_completion_tokens": "8",
    }  # fmt: skip
    return ask(bench, **given | filled)


@pytest.mark.parametrize("model", ["tiny", "stage:1"])
def test_a_stage_is_judged_by_a_model_that_writes(bench: Bench, model: str) -> None:
    question = "Is {{ sample.output_text }} right?"
    answer = rewarded(bench, s1_judge_model=model, s1_question=question)
    assert answer.status_code == 302, beside(answer.content.decode(), "1-judge_model")
    with tenant_scope(bench.tenant.id):
        grader = Stage.objects.get(number=2).request["grader"]
    assert (grader["type"], grader["model"]) == ("score_model", model)
    assert grader["input"] == [{"role": "user", "content": question}]
    page = browser_of(bench_person(bench)).get(answer["location"]).content.decode()
    assert ("the model of stage 1" in page) == (model == "stage:1")


def test_a_stage_is_rewarded_by_a_grader_in_json(bench: Bench) -> None:
    assert rewarded(bench, s1_grader=ALL_ALIKE).status_code == 302
    with tenant_scope(bench.tenant.id):
        assert Stage.objects.get(number=2).request["grader"]["operation"] == "like"


@pytest.mark.parametrize(
    ("filled", "field", "said"),
    [
        ({}, "reward_model", "one of these three"),
        ({"judge_model": "tiny", "question": " "}, "question", "Write what"),
        ({"judge_model": "tiny", "question": "{{ odd }}"}, "question", "double braces"),
        ({"judge_model": "tiny", "grader": ALL_ALIKE}, "grader", "One thing rewards"),
        ({"grader": "{"}, "grader", "no grader in JSON"),
        ({"judge_model": "stage:2"}, "judge_model", "Select a valid choice"),
    ],
)
def test_what_rewards_no_stage_is_said_at_its_field(
    bench: Bench, filled: dict[str, str], field: str, said: str
) -> None:
    answer = rewarded(bench, **{f"s1_{name}": value for name, value in filled.items()})
    assert answer.status_code == 200
    assert said in beside(answer.content.decode(), f"1-{field}")


def test_what_the_service_refuses_of_a_judge_is_said_at_it(bench: Bench) -> None:
    """A stage of the method `reward` writes nothing."""
    pairs = [{"prompt": f"lamp {n}?", "chosen": " on", "rejected": " off"} for n in range(8)]
    answer = rewarded(
        bench,
        s0_training_file=str(check(bench, jsonl(pairs))[0].id), s0_method="reward",
        s1_judge_model="stage:1", s1_question="{{ sample.output_text }}?",
    )  # fmt: skip
    assert beside(answer.content.decode(), "1-judge_model")
