"""A reward model over the wire: what it may be made of and go on from, and that nobody asks it for
text."""

from typing import Any

import pytest
from openai import BadRequestError

from faults import UserFault
from finetune import selectors
from finetune.families.contract import AdapterSpec
from finetune.models import Artifact, CatalogModel
from finetune.services.evaluations import subjects
from finetune.services.forms.leaving import require_form
from finetune.services.jobs.files import require_family
from finetune.services.jobs.request import JobRequest
from finetune.services.models import gateway
from finetune.services.pipelines.request import PipelineRequest, StageRequest, wrong_stages
from privatune.portal.on_offer import askable
from privatune.portal.preferred import preferred
from tenants.database.scope import tenant_scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows
from tests.finetune.api.rows import give_result
from tests.finetune.api.test_dpo import preferences
from tests.finetune.api.test_preference_methods import start
from tests.finetune.api.test_pretrain import upload, validated
from tests.fixtures.people import browser_of, member

PREFERENCES = {
    "pairs": 40, "before": {"accuracy": 0.5, "interval": [0.35, 0.65]},
    "after": {"accuracy": 0.9, "interval": [0.77, 0.96]},
    "difference": 0.4, "interval": [0.2, 0.6], "p_value": 0.001,
}  # fmt: skip


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
            require_form(artifact)
        assert unmerged.value.code == "form_unsupported"
        offered, _ = askable()
        assert not any(name == each for _, group in offered for each, _ in group)
    page = browser_of(member(customer)).get(f"/t/{customer.slug}/models/{artifact.id}/")
    text = page.content.decode()
    assert "scores answers and writes none" in text
    assert 'id="chat"' not in text
    assert "Of 40 pairs: 90.0% (77.0%\N{NO-BREAK SPACE}–\N{NO-BREAK SPACE}96.0%)" in text
    assert '<p class="outcome-green">+40.0 points: better than before</p>' in text


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


def test_it_ends_a_pipeline() -> None:
    def asked(*methods: str) -> list[str]:
        file = "00000000-0000-0000-0000-000000000000"
        stages = tuple(
            StageRequest(job=JobRequest.model_validate(
                {"model": TINY, "training_file": file, "method": method}))
            for method in methods
        )  # fmt: skip
        return [str(fault.param) for fault in wrong_stages(PipelineRequest(stages=stages))]

    assert asked("supervised", "reward") == []
    assert asked("reward", "supervised") == ["stages.0.method"]
