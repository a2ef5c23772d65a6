"""Reinforcement, asked for over the wire: from OpenAI's rows and grader to what the trainer is
told, and to a model whose answers earn more."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai import BadRequestError, NotFoundError, PermissionDeniedError

from finetune.models import Job
from finetune.services.runs import preparation
from finetune.states import JobState
from finetune.trainer.lifeline import Stop
from finetune.trainer.loop import train
from finetune.trainer.spec import RunSpec
from tenants.database.scope import tenant_scope
from tenants.roles import ALL_SCOPES, Scope
from tenants.services.tenants import create_key
from tenants.services.vaults import vault_for
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows
from tests.finetune.api.test_pretrain import upload, validated
from tests.finetune.trainer.runs import events
from tests.fixtures.jobs import LETTER_GRADER

PYTHON = {"type": "python", "name": "p", "source": "def grade(sample, item):\n    return 1\n"}
JUDGE = {"type": "score_model", "name": "j", "model": "m",
         "input": [{"role": "user", "content": "?"}]}  # fmt: skip


def prompts(count: int = 12) -> bytes:
    rows = [
        {"messages": [{"role": "user", "content": f"Say it {number}"}], "letter": "e"}
        for number in range(count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


def start(customer: Customer, file: str, **method: Any) -> Any:
    own = {"grader": LETTER_GRADER, "hyperparameters": {"max_completion_tokens": 16}} | method
    asked: Any = {"type": "reinforcement", "reinforcement": own}
    return customer.client().fine_tuning.jobs.create(
        model=TINY, training_file=file, method=asked, extra_body={"max_length": 256}
    )


def told(customer: Customer, job_id: str) -> Any:
    method = customer.client().fine_tuning.jobs.retrieve(job_id).method
    assert method is not None
    assert method.reinforcement is not None
    return method.reinforcement


def test_openais_request_is_what_the_trainer_is_told(customer: Customer) -> None:
    file = upload(customer, prompts(), "prompts.jsonl")
    asked = {"n_epochs": 2, "batch_size": 4, "compute_multiplier": 0.5, "eval_samples": 3,
             "max_completion_tokens": 100}  # fmt: skip
    created = start(customer, file, hyperparameters=asked)
    assert created.method.reinforcement.grader.name == "letter"
    job = validated(customer, created.id)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    memory = {"gradient_checkpointing": False, "micro_batch_tokens": 512}
    spec = RunSpec.model_validate(job.resolved["spec"] | memory)
    assert (spec.objective, spec.grader, spec.stability) == ("reinforcement", LETTER_GRADER, "off")
    assert spec.settings["num_generations"] == 4
    assert spec.settings["num_generations_eval"] == 3
    assert spec.settings["loss_type"] == "dapo"
    assert job.total_steps == 6
    assert job.resolved["trained_tokens"] == 12 * 2 * 4 * 100
    shown = told(customer, created.id).hyperparameters
    assert (shown.n_epochs, shown.num_generations, shown.algorithm) == (2, 4, "grpo")


def test_ours_stand_beside_them_and_more_steps_learn_from_the_same_answers(
    customer: Customer,
) -> None:
    file = upload(customer, prompts(), "prompts.jsonl")
    asked = {"algorithm": "rloo", "num_iterations": 2, "n_epochs": 1, "batch_size": 4,
             "max_completion_tokens": 16, "temperature": 0.8}  # fmt: skip
    job = validated(customer, start(customer, file, hyperparameters=asked).id)
    settings = job.resolved["spec"]["settings"]
    assert (settings["algorithm"], settings["beta"], settings["temperature"]) == ("rloo", 0.05, 0.8)
    assert job.total_steps == 6


@pytest.mark.parametrize(
    ("method", "param", "code"),
    [
        ({"grader": None}, "grader", "invalid_value"),
        ({"grader": {"type": "string_check"}}, "grader", "invalid_value"),
        ({"grader": PYTHON | {"source": "def grade("}}, "grader", "invalid_value"),
        ({"response_format": {"type": "json_object"}}, "response_format", "unsupported_parameter"),
        ({"hyperparameters": {"reasoning_effort": "high"}}, "hyperparameters.reasoning_effort",
         "unsupported_parameter"),
        ({"hyperparameters": {"compute_multiplier": 0}}, "hyperparameters.compute_multiplier",
         "invalid_value"),
        ({"hyperparameters": {"compute_multiplier": 1, "num_generations": 8}},
         "hyperparameters.compute_multiplier", "invalid_value"),
        ({"hyperparameters": {"num_generations": 1}}, "hyperparameters.num_generations",
         "invalid_value"),
        ({"hyperparameters": {"eval_samples": 0}}, "hyperparameters.eval_samples", "invalid_value"),
        ({"hyperparameters": {"eval_interval": 0}}, "hyperparameters.eval_interval",
         "invalid_value"),
        ({"hyperparameters": {"algorithm": "ppo"}}, "hyperparameters.algorithm", "invalid_value"),
    ],
)  # fmt: skip
def test_what_is_not_offered_is_refused_by_its_place(
    customer: Customer, method: Any, param: str, code: str
) -> None:
    file = upload(customer, prompts(), "prompts.jsonl")
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, **method)
    assert (refused.value.param, refused.value.code) == (f"method.reinforcement.{param}", code)


def test_a_judge_is_a_model_that_the_caller_may_ask(customer: Customer) -> None:
    file = upload(customer, prompts(), "prompts.jsonl")
    several = {"type": "multi", "name": "m", "graders": {"j": JUDGE}, "calculate_output": "j"}
    with pytest.raises(NotFoundError) as missing:
        start(customer, file, grader=several)
    assert missing.value.param == "method.reinforcement.grader"
    judge = JUDGE | {"model": TINY}
    job = validated(customer, start(customer, file, grader=judge).id)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    assert job.resolved["spec"]["grader"] == judge
    scopes = ALL_SCOPES - {Scope.INFER}
    _, key = create_key(tenant_id=customer.tenant_id, name="k", actor="t", scopes=scopes)
    with pytest.raises(PermissionDeniedError, match="infer"):
        start(replace(customer, key=key), file, grader=judge)


def test_prompt_and_answer_fit_the_context_and_evaluation_needs_rows(customer: Customer) -> None:
    file = upload(customer, prompts(), "prompts.jsonl")
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, hyperparameters={"max_completion_tokens": 4096})
    assert refused.value.param == "max_length"
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, hyperparameters={"eval_interval": 5, "max_completion_tokens": 9})
    assert refused.value.param == "validation_file"


def test_chats_are_no_prompts(customer: Customer) -> None:
    file = upload(customer, chat_rows(6), "chats.jsonl")
    with pytest.raises(BadRequestError) as refused:
        start(customer, file)
    assert refused.value.code == "wrong_kind_of_record"


def test_the_answers_of_the_model_that_comes_of_it_earn_more(
    customer: Customer, tmp_path: Path
) -> None:
    file = upload(customer, prompts(), "prompts.jsonl")
    asked = {"n_epochs": 12, "batch_size": 4, "max_completion_tokens": 8,
             "learning_rate_multiplier": 100}  # fmt: skip
    job = validated(customer, start(customer, file, hyperparameters=asked).id)
    machine = {"gradient_checkpointing": False, "micro_batch_tokens": 512, "threads": 1,
               "seed": 7}  # fmt: skip
    with tenant_scope(customer.tenant_id):
        vault = vault_for(customer.tenant_id)
        found = Job.objects.select_related("base", "training_data__file").get(id=job.id)
        spec = RunSpec.model_validate(found.resolved["spec"] | machine)
        preparation.lay_out(found, spec, vault, tmp_path, tell=lambda said: pytest.fail(str(said)))
    train(tmp_path, Stop())
    rewards = [event["data"]["train_reward"] for event in events(tmp_path, "metrics")]
    assert sum(rewards[-8:]) / 8 > sum(rewards[:8]) / 8 + 0.15
