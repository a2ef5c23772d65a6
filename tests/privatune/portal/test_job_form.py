"""The form of a new job says beside its field what cannot be started, in the person's language."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from django.utils.translation import override

from finetune.models import Job
from finetune.records.check.spec import LONGEST_DEFAULT
from finetune.services.jobs.objections import objections
from privatune.portal.job_form import JobForm
from privatune.portal.method_fields import OF_METHODS
from tenants.database.scope import tenant_scope
from tenants.roles import Role
from tenants.services.tenants import add_member
from tests.finetune.services.jobs.test_validation import check
from tests.fixtures.jobs import LETTER_GRADER, Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, new_person
from tests.rerankers import build_reranker

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
    typed |= {"learning_curve": "on", "validation_split": "0.2"}
    assert ask(bench, "en", r="4", neftune_noise_alpha="5", **typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        asked = Job.objects.get().requested
    assert asked["learning_curve"] is True
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
    own |= {"policy_loss": "dr_grpo", "temperature": "0.7", "top_p": "0.9", "scale_rewards": "none"}
    own |= {"num_iterations": "2", "epsilon": "0.1", "epsilon_high": "0.3"}
    own["num_generations_eval"] = "3"
    answer = reward(bench, grader=json.dumps(LETTER_GRADER), **own)
    assert answer.status_code == 302, answer.content.decode()
    with tenant_scope(bench.tenant.id):
        requested = Job.objects.get().requested
    assert requested["grader"] == LETTER_GRADER
    assert requested["settings"] == {
        "num_generations": 4, "max_completion_tokens": 8, "loss_type": "dr_grpo",
        "temperature": 0.7, "top_p": 0.9, "scale_rewards": "none", "num_iterations": 2,
        "epsilon": 0.1, "epsilon_high": 0.3, "num_generations_eval": 3,
    }  # fmt: skip
    page = reward(bench, grader=json.dumps(LETTER_GRADER), algorithm="rloo", **own)
    for field in ("policy_loss", "scale_rewards"):
        said = page.content.decode().partition(f'name="{field}"')[2].partition("form-label")[0]
        assert "invalid-feedback" in said


def test_a_reranker_is_told_its_own_loss(tmp_path: Path) -> None:
    bench = new_bench(build_reranker(tmp_path / "base"), name="ranker")
    row = {"query": "lamp", "positive": "lamp on", "negatives": ["door"]}
    file, _ = check(bench, jsonl([row | {"query": f"lamp {n}"} for n in range(8)]))
    own = {"training_file": str(file.id), "method": "rerank", "rerank_loss": "listwise"}
    own["model"] = bench.base.name
    page = ask(bench, "en", pos_weight="4", **own).content.decode()
    said = page.partition('name="rerank_loss"')[2].partition("form-label")[0]
    assert "invalid-feedback" in said
    assert ask(bench, "en", **own).status_code == 302
    with tenant_scope(bench.tenant.id):
        assert Job.objects.get().requested["settings"] == {"loss_type": "listwise"}


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
    assert said in page.partition('name="grader"')[2].partition("form-label")[0]
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


def test_a_grader_that_was_typed_before_another_method_was_chosen_is_no_matter(
    bench: Bench,
) -> None:
    assert ask(bench, "en", grader="{", method="supervised").status_code == 302


PAIR = {"prompt": "lamp?", "chosen": " on", "rejected": " off"}


def pairs(bench: Bench) -> str:
    file, _ = check(bench, jsonl([PAIR | {"prompt": f"lamp {n}?"} for n in range(8)]))
    return str(file.id)


@pytest.mark.parametrize(
    ("language", "said"),
    [
        ("en", "This file holds pairs (chosen and rejected). The method supervised learns from"),
        ("zh-hans", "此文件包含的是成对回答（chosen 与 rejected）。方法 supervised 需要的是"),
    ],
)
def test_a_file_of_another_kind_is_refused_by_the_names_of_both(
    bench: Bench, language: str, said: str
) -> None:
    page = ask(bench, language, training_file=pairs(bench)).content.decode()
    at_field = page.partition('name="training_file"')[2].partition("form-label")[0]
    assert said in at_field
    assert ("conversations (messages)" if language == "en" else "对话（messages）") in at_field
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


def test_all_that_is_wrong_is_said_at_once_each_beside_its_field(bench: Bench) -> None:
    """What the form sees, and then what only the services do."""
    page = ask(bench, "en", training_file=pairs(bench), n_epochs="0", r="-1").content.decode()
    for field in ("training_file", "n_epochs", "r"):
        at_field = page.partition(f'name="{field}"')[2].partition("form-label")[0]
        assert "invalid-feedback" in at_field, field
    wrong = {"targets": "v_porj", "init_lora_weights": "pissa", "dropout": "0.1"}
    wrong |= {"learning_rate": "0.1", "learning_rate_multiplier": "2"}
    page = ask(bench, "en", **wrong).content.decode()
    assert page.count("invalid-feedback") == 3
    assert "Did you mean: v_proj?" in page
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


def test_nothing_else_than_the_refusal_is_said_of_a_request_that_is_right(bench: Bench) -> None:
    request = bench.request(adapter={"r": 4, "alpha": 8})
    with tenant_scope(bench.tenant.id):
        assert objections(request) == []


def shown_fields(page: str) -> set[str]:
    """Of the settings that only some methods have, those that are shown without scripts."""
    divs = re.findall(
        r'<div class="[^"]+" data-methods="[^"]+"( hidden)?>\s*<label[^>]*for="id_(\w+)"', page
    )
    assert len(divs) >= len(OF_METHODS)
    return {name for hidden, name in divs if not hidden}


OF_TEXT = {"thinking", "dropout", "neftune_noise_alpha"}  # of every method that writes


@pytest.mark.parametrize(
    ("method", "own"),
    [
        ("contrastive", {"scale", "dimensions", "further_file", "further_weight",
                         "learning_curve"}),
        ("supervised", {"packing", "further_file", "further_weight", "learning_curve"}),
        ("dpo", {"beta", "loss_type", "label_smoothing", "packing", "further_file",
                 "further_weight", "learning_curve"}),
        ("kto", {"beta", "desirable_weight", "undesirable_weight", "packing", "further_file",
                 "further_weight", "learning_curve"}),
        ("reinforcement", {"algorithm", "policy_loss", "temperature", "top_p", "beta",
                           "num_generations", "num_generations_eval", "num_iterations", "epsilon",
                           "epsilon_high", "scale_rewards", "max_completion_tokens", "grader",
                           "reward_model"}),
    ],
)  # fmt: skip
def test_only_the_chosen_methods_settings_are_shown_also_without_scripts(
    bench: Bench, method: str, own: set[str]
) -> None:
    answer = ask(bench, "en", method=method, look="1", n_epochs="7", suffix="mine")
    page = answer.content.decode()
    assert shown_fields(page) == own | (OF_TEXT if method != "contrastive" else set())
    assert 'value="7"' in page
    assert 'value="mine"' in page
    assert "invalid-feedback" not in page
    with tenant_scope(bench.tenant.id):
        assert not Job.objects.exists()


def test_what_was_typed_for_another_method_is_neither_asked_nor_refused(bench: Bench) -> None:
    typed = {"method": "supervised", "beta": "-3", "num_generations": "4", "gamma": "1"}
    assert ask(bench, "en", **typed).status_code == 302
    with tenant_scope(bench.tenant.id):
        assert Job.objects.get().requested["settings"] == {}


def test_a_file_that_is_trained_with_brings_a_method_that_learns_from_it(bench: Bench) -> None:
    file = pairs(bench)
    person = new_person()
    add_member(tenant_id=bench.tenant.id, user=person, role=Role.ENGINEER, actor="test")
    page = browser_of(person).get(f"/t/{bench.tenant.slug}/jobs/new?training_file={file}")
    told = page.content.decode()
    assert '<option value="dpo" selected>' in told
    assert re.search(
        rf'<option value="{file}" data-format="chosen"[^>]*selected', told
    ) or re.search(rf'<option value="{file}" selected data-format="chosen"', told)
    assert "8 rows · pairs" in told
