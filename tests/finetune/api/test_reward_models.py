"""A reward model over the wire: what it may be made of and go on from, and that nobody asks it for
text."""

import json
import math
from functools import partial
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from openai import BadRequestError, PermissionDeniedError

from faults import UserFault
from finetune import selectors
from finetune.families.contract import AdapterSpec
from finetune.grading.criteria import rewarding
from finetune.models import Artifact, CatalogModel, Job, Suite
from finetune.services.evaluations import subjects
from finetune.services.evaluations.report import _wins
from finetune.services.forms.leaving import require_form
from finetune.services.jobs.files import require_family
from finetune.services.jobs.judges import judges_asked, require_judges
from finetune.services.models import gateway
from privatune.portal.on_offer import askable
from privatune.portal.preferred import preferred
from privatune.portal.verdicts import wins
from tenants.database.scope import tenant_scope
from tenants.models import License
from tenants.services.vaults import open_vault
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows
from tests.finetune.api.rows import give_result
from tests.finetune.api.test_dpo import preferences
from tests.finetune.api.test_evaluations import evaluated, get, suite_file
from tests.finetune.api.test_preference_methods import start
from tests.finetune.api.test_pretrain import upload, validated
from tests.fixtures.jobs import jsonl
from tests.fixtures.people import browser_of, member
from tests.rewarders import score_of, written

PREFERENCES = {
    "pairs": 40, "before": {"accuracy": 0.5, "interval": [0.35, 0.65]},
    "after": {"accuracy": 0.9, "interval": [0.77, 0.96]},
    "difference": 0.4, "interval": [0.2, 0.6], "p_value": 0.001,
}  # fmt: skip


TURN_ON = {"role": "user", "content": "turn on"}
IT_IS_ON = {"role": "assistant", "content": "it is on"}


@pytest.fixture
def made(customer: Customer) -> tuple[str, str]:
    """(its job, the reward model)"""
    file = upload(customer, preferences(), "pairs.jsonl")
    job = validated(customer, start(customer, file, "reward", n_epochs=1, batch_size=4).id)
    assert job.resolved["spec"]["family"] == "scoring"
    name = give_result(customer, job.public_id)
    told = {"family": "scoring", "hyperparameters": {"adapter": AdapterSpec().model_dump()}}
    with tenant_scope(customer.tenant_id):
        Artifact.objects.filter(model_name=name).update(
            passport=told, report={"preferences": PREFERENCES}
        )
    return job.public_id, name


def test_nobody_asks_it_for_text(customer: Customer, made: tuple[str, str]) -> None:
    job, name = made
    chat: Any = [{"role": "user", "content": "turn on"}]
    with pytest.raises(BadRequestError) as refused:
        customer.client().chat.completions.create(model=name, messages=chat)
    assert (refused.value.code, refused.value.param) == ("model_scores", "model")
    with tenant_scope(customer.tenant_id):
        for asked in (name, job):
            with pytest.raises(UserFault) as unfit:
                subjects.find(asked)
            assert unfit.value.code == "model_scores"
        artifact = selectors.artifacts().get(model_name=name)
        with pytest.raises(UserFault) as unmerged:
            require_form(artifact, "merged")
        assert unmerged.value.code == "form_unsupported"
        offered, _ = askable()
        assert not any(name == each for _, group in offered for each, _ in group)
    page = browser_of(member(customer)).get(f"/t/{customer.slug}/models/{artifact.id}/")
    text = page.content.decode()
    assert "scores answers and writes none" in text
    assert 'id="chat"' not in text
    assert "Of 40 pairs: 90.0% (77.0%\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}96.0%)" in text
    assert '<p class="outcome-green">+40.0 points: better than before</p>' in text


def test_forms_offer_it_as_a_grader(customer: Customer, made: tuple[str, str]) -> None:
    name, browser = made[1], browser_of(member(customer))
    page = f"/t/{customer.slug}/evaluations/new"
    assert f'<option value="{name}">' in browser.get(page).content.decode()
    rows = SimpleUploadedFile("suite.jsonl", b'{"prompt": "turn on", "reference": "on"}\n')
    form = {"model": TINY, "rows": rows, "max_tokens": 4, "reward_model": name}
    assert browser.post(page, form).status_code == 302
    prompts = upload(customer, jsonl([{"messages": [TURN_ON], "letter": "e"}] * 8), "prompts.jsonl")
    form = {"model": TINY, "method": "reinforcement", "preset": "custom", "reward_model": name,
            "max_completion_tokens": 8, "num_generations": 4}  # fmt: skip
    with tenant_scope(customer.tenant_id):
        assert Suite.objects.get().criteria == [rewarding(name)]
        form["training_file"] = str(selectors.find(selectors.files(), prompts).id)
    page = f"/t/{customer.slug}/jobs/new"
    assert f'<option value="{name}">' in browser.get(page).content.decode()
    refused = browser.post(page, form | {"grader": "{}"})
    assert "Choose a reward model or write a grader, not both." in refused.content.decode()
    made_so = browser.post(page, form)
    assert made_so.status_code == 302
    with tenant_scope(customer.tenant_id):
        job = Job.objects.get(method="reinforcement")
        assert job.requested["grader"] == rewarding(name)
        Artifact.objects.filter(model_name=name).update(passport={"family": "causal_lm"})
        with pytest.raises(UserFault) as unfit:
            require_judges(judges_asked(rewarding(name)))
    assert (unfit.value.code, unfit.value.param) == ("not_a_reward_model", "grader")


def test_it_scores_in_graders_and_evaluations(
    customer: Customer, made: tuple[str, str], tiny_base: Path, tmp_path: Path, model_server: Any
) -> None:
    """As in its training; a writer is none, and one that is withheld or not licensed is not
    asked."""
    model, folder = written(tiny_base, tmp_path / "adapter", 3)
    weights = (folder / "adapter_model.safetensors").read_bytes()
    with tenant_scope(customer.tenant_id):
        artifact = selectors.artifacts().get(model_name=made[1])
        open_vault().delete(artifact.adapter_object)
        open_vault().put_bytes(artifact.adapter_object, weights)
        artifact.adapter_sha256 = sha256(weights).hexdigest()
        artifact.adapter_config = json.loads((folder / "adapter_config.json").read_bytes())
        artifact.save()
    grader: Any = {"type": "reward_model", "name": "r", "model": made[1], "scale": "none"}
    alpha = customer.client().fine_tuning.alpha.graders
    found = alpha.run(grader=grader, model_sample="it is on", item={"prompt": "turn on"})
    raw = score_of(model, tiny_base, TURN_ON, IT_IS_ON)
    assert found.reward == pytest.approx(raw, abs=0.5)
    assert found.metadata.sampled_model_name == made[1]
    assert found.metadata.token_usage > 0
    assert alpha.validate(grader=grader).grader is not None
    with pytest.raises(BadRequestError) as refused:
        alpha.run(grader=grader | {"model": TINY}, model_sample="x", item={"prompt": "x"})
    assert refused.value.code == "not_a_reward_model"
    judge: Any = {"type": "score_model", "name": "j", "model": made[1], "input": [TURN_ON]}
    with pytest.raises(BadRequestError) as refused:
        alpha.validate(grader=judge)
    assert refused.value.code == "model_scores"
    asked = [{"prompt": f"turn on {n}", "reference": "on"} for n in range(3)]
    told = evaluated(customer, model=TINY, file=suite_file(customer, asked),
                     criteria=[grader | {"scale": "sigmoid"}])  # fmt: skip
    assert (told["state"], told["error"]) == ("succeeded", None)
    lines = get(customer, f"/{told['id']}/items").text.splitlines()
    for item in map(json.loads, lines):
        side = item["sides"]["model"]
        said = {"role": "assistant", "content": side["answer"]}
        raw = score_of(model, tiny_base, *item["input"], said)
        assert side["score"] == pytest.approx(1 / (1 + math.exp(-raw)), abs=0.12)
    with tenant_scope(customer.tenant_id):
        License.objects.filter(model=TINY).update(rights=["train"])
    for ask in (alpha.validate, partial(alpha.run, model_sample="x", item={"prompt": "x"})):
        with pytest.raises(PermissionDeniedError):
            ask(grader=grader)


@pytest.mark.parametrize(
    ("told", "shared", "words", "colour"),
    [
        ({}, 0, "better than before", "green"),
        ({}, 3, "better than before", ""),
        ({"interval": [-0.1, 0.6]}, 0, "no difference shown", ""),
        ({"interval": None}, 0, "no difference shown", ""),
        ({"p_value": 0.3}, 0, "no difference shown", ""),
        ({"difference": -0.4, "interval": [-0.6, -0.2]}, 3, "worse than before", "red"),
    ],
)
def test_a_page_praises_only_what_is_shown(
    told: dict[str, Any], shared: int, words: str, colour: str
) -> None:
    found = preferred({"preferences": PREFERENCES | told, "valid_rows_in_training": shared})
    assert found is not None
    assert words in found["words"]
    assert found["colour"] == colour
    assert preferred({}) is None


def test_an_evaluation_of_a_job_to_come_is_refused(customer: Customer) -> None:
    file = upload(customer, preferences(), "pairs.jsonl")
    job = start(customer, file, "reward", n_epochs=1, batch_size=4)
    with tenant_scope(customer.tenant_id), pytest.raises(UserFault) as refused:
        subjects.find(job.id)
    assert refused.value.code == gateway.model_scores().code


def test_it_goes_on_as_a_reward_model_alone(customer: Customer, made: tuple[str, str]) -> None:
    jobs = customer.client().fine_tuning.jobs
    chats = upload(customer, chat_rows(), "chat.jsonl")
    with pytest.raises(BadRequestError) as refused:
        jobs.create(model=made[1], training_file=chats)
    assert (refused.value.code, refused.value.param) == ("model_scores", "model")
    pairs = upload(customer, preferences(), "more.jsonl")
    method: Any = {"type": "reward"}
    further = jobs.create(model=made[1], training_file=pairs, method=method)
    assert validated(customer, further.id).resolved["spec"]["start"] is not None


def test_a_model_that_writes_may_become_one(customer: Customer) -> None:
    jobs = customer.client().fine_tuning.jobs
    first = jobs.create(model=TINY, training_file=upload(customer, chat_rows(), "chat.jsonl"))
    name = give_result(customer, first.id)
    told = {"family": "causal_lm", "hyperparameters": {"adapter": AdapterSpec().model_dump()}}
    with tenant_scope(customer.tenant_id):
        Artifact.objects.filter(model_name=name).update(passport=told)
    method: Any = {"type": "reward"}
    pairs = upload(customer, preferences(), "pairs.jsonl")
    job = validated(customer, jobs.create(model=name, training_file=pairs, method=method).id)
    assert (job.resolved["spec"]["family"], job.error) == ("scoring", None)


def test_bases_that_stock_transformers_cannot_score_with_are_refused() -> None:
    granite = CatalogModel(name="g", family="causal_lm", architecture="GraniteForCausalLM")
    with pytest.raises(UserFault) as refused:
        require_family("reward", granite)
    assert (refused.value.code, refused.value.param) == ("base_without_score", "model")
    require_family("dpo", granite)


def test_an_evaluation_tells_how_often_it_prefers_the_model_to_its_base() -> None:
    def row(base: float, model: float, **errors: str) -> dict[str, Any]:
        told = {"name": "r", "type": "reward_model", "errors": {}}
        other = told | {"name": "x", "type": "python", "score": 1.0}
        return {"sides": {
            "base": {"results": [told | {"score": base}, other]},
            "model": {"results": [told | {"score": model, "errors": errors}, other]},
        }}  # fmt: skip

    (found,) = _wins([row(0.2, 0.4), row(0.3, 0.3), row(0.9, 0.1), row(0.1, 0.9, kind="x")])
    assert (found["name"], found["rows"], found["won"], found["tied"]) == ("r", 3, 1, 1)
    (said,) = wins({"wins": [found]})
    assert "r prefers the model's answer to the base's in 50.0% of the questions" in said
    (said,) = wins({"wins": [found | {"share": None, "interval": None}]})
    assert said == "r scores all answers as the base's."
    assert _wins([{"sides": {"model": row(1, 1)["sides"]["model"]}}]) == []
