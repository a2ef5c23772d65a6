"""The form of a new job says beside its field what cannot be started, in the person's language."""

import json
from pathlib import Path
from typing import Any

import pytest
from django.utils.translation import override

from finetune.models import Job
from finetune.records.check.spec import LONGEST_DEFAULT
from privatune.portal.job_form import JobForm
from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tenants.services.tenants import add_member
from tests.fixtures.jobs import LETTER_GRADER, Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, new_person

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def ask(bench: Bench, language: str, **own: Any) -> Any:
    """The form, filled in by hand and sent."""
    file = bench.add_file(jsonl(chat_rows(12)))
    person = new_person()
    add_member(tenant_id=bench.tenant.id, user=person, role=Role.ENGINEER, actor="test")
    form = {"model": "tiny", "training_file": str(file.id), "preset": "custom"} | own
    address = f"/t/{bench.tenant.slug}/jobs/new"
    return browser_of(person).post(address, form, headers={"accept-language": language})


@pytest.mark.parametrize(
    ("language", "said"),
    [
        (
            "en",
            "This base model has no layer “v_porj” for an adapter. Did you mean: v_proj?",
        ),
        ("zh-hans", "此基础模型没有可加适配器的层“v_porj”。您是不是指：v_proj？"),
    ],
)
def test_a_misspelt_layer_is_told_with_the_nearest_and_what_was_typed_stays(
    bench: Bench, language: str, said: str
) -> None:
    answer = ask(bench, language, targets="q_proj, v_porj")
    assert said in answer.content.decode()
    assert 'value="q_proj, v_porj"' in answer.content.decode()
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_the_form_tells_the_longest_row_that_is_taken_by_default(language: str) -> None:
    with override(language):
        assert f" {LONGEST_DEFAULT}" in str(JobForm.base_fields["max_length"].help_text)


@pytest.mark.parametrize(
    ("typed", "kept"),
    [("q_proj ,v_proj,", {"targets": ["q_proj", "v_proj"]}), ("", None), (" , ", None)],
)
def test_layers_are_taken_as_typed_and_none_means_all(
    bench: Bench, typed: str, kept: dict[str, Any] | None
) -> None:
    assert ask(bench, "en", targets=typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        assert Job.objects.get().requested["adapter"] == kept


def test_the_optimizer_is_asked_for_or_left_to_us(bench: Bench) -> None:
    typed = {"learning_rate": "0.0001", "schedule": "linear", "weight_decay": "0", "dropout": "0.1"}
    assert ask(bench, "en", **typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        asked = Job.objects.get().requested
    assert asked["optimizer"] == {"learning_rate": 1e-4, "schedule": "linear", "weight_decay": 0.0}
    assert asked["adapter"] == {"dropout": 0.1}


def test_further_data_is_taken_with_its_weight(bench: Bench) -> None:
    more = bench.add_file(jsonl(chat_rows(5)))
    answer = ask(bench, "en", further_file=str(more.id), further_weight="0.1")
    assert answer.status_code == 302
    with tenant_scope(bench.tenant.id):
        (further,) = Job.objects.get().further
        assert (further.file_id, further.weight) == (more.id, 0.1)


def test_ways_to_train_an_adapter_are_asked_for_or_left_out(bench: Bench) -> None:
    typed = {"init_lora_weights": "olora", "use_rslora": "on", "loraplus_lr_ratio": "16"}
    assert ask(bench, "en", r="4", neftune_noise_alpha="5", **typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        asked = Job.objects.get().requested
    assert asked["adapter"] == {"r": 4, "init_lora_weights": "olora", "use_rslora": True}
    assert (asked["optimizer"], asked["neftune_noise_alpha"]) == ({"loraplus_lr_ratio": 16.0}, 5.0)


@pytest.mark.parametrize(
    ("language", "said"), [("en", "do not go together"), ("zh-hans", "不能同时使用")]
)
def test_settings_that_do_not_go_together_are_told_beside_the_one_to_leave_out(
    bench: Bench, language: str, said: str
) -> None:
    answer = ask(bench, language, init_lora_weights="pissa", dropout="0.1")
    assert said in answer.content.decode()
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


@pytest.mark.parametrize(("typed", "kept"), [({}, "auto"), ({"stability": "off"}, "off")])
def test_a_blow_up_is_rolled_back_unless_it_is_not_to_be(
    bench: Bench, typed: dict[str, str], kept: str
) -> None:
    assert ask(bench, "en", **typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        assert Job.objects.get().requested["stability"] == kept


@pytest.mark.parametrize(
    ("typed", "kept"),
    [
        ({}, ("auto", "auto")),
        ({"gradient_checkpointing": "on", "micro_batch_tokens": "512"}, (True, 512)),
        ({"gradient_checkpointing": "off"}, (False, "auto")),
    ],
)
def test_how_the_training_stands_in_memory_is_asked_for_or_left_to_us(
    bench: Bench, typed: dict[str, str], kept: tuple[bool | str, int | str]
) -> None:
    assert ask(bench, "en", **typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        asked = Job.objects.get().requested
    assert (asked["gradient_checkpointing"], asked["micro_batch_tokens"]) == kept


@pytest.mark.parametrize("hold", [True, False])
def test_what_it_will_take_can_be_asked_for_before_it_starts(bench: Bench, hold: bool) -> None:
    assert ask(bench, "en", **({"hold": "1"} if hold else {})).status_code == 302
    with tenant_scope(bench.tenant.id):
        assert Job.objects.get().requested["auto_start"] is not hold


def reward(bench: Bench, language: str = "en", **own: Any) -> Any:
    row = {"messages": [{"role": "user", "content": "Say it"}], "letter": "e"}
    file = bench.add_file(jsonl([row] * 8))
    settings = {"method": "reinforcement", "preset": "balanced", "training_file": str(file.id)}
    return ask(bench, language, **(settings | own))


def test_answers_are_rewarded_by_the_grader_that_was_pasted(bench: Bench) -> None:
    own = {"preset": "custom", "max_completion_tokens": "8", "num_generations": "4"}
    answer = reward(bench, grader=json.dumps(LETTER_GRADER), **own)
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(bench.tenant.id):
        requested = Job.objects.get().requested
    assert requested["grader"] == LETTER_GRADER
    assert requested["settings"] == {"num_generations": 4, "max_completion_tokens": 8}


@pytest.mark.parametrize(
    ("grader", "language", "said"),
    [
        ("{", "en", "This is no grader in JSON."),
        ("{", "zh-hans", "这不是 JSON 格式的评分器。"),
        ("", "en", "This is no grader in JSON."),
        ("[1]", "en", "This grader cannot reward a training."),
        (
            json.dumps(LETTER_GRADER | {"type": "score_model"}),
            "zh-hans",
            "此评分器无法用于训练奖励。",
        ),
    ],
)
def test_what_is_no_grader_is_said_at_its_field(
    bench: Bench, grader: str, language: str, said: str
) -> None:
    own = {"preset": "custom", "max_completion_tokens": "8"}
    page = reward(bench, language, grader=grader, **own).content.decode()
    assert said in page.partition('id="of-reinforcement"')[2].partition("</div>\n    \n")[0]
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


def test_a_grader_that_was_typed_before_another_method_was_chosen_is_no_matter(
    bench: Bench,
) -> None:
    assert ask(bench, "en", grader="{", method="supervised").status_code == 302
