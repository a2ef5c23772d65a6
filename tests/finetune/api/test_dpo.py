"""Preferences, asked for over the wire: from OpenAI's rows to what the trainer is told."""

import json
from typing import Any

import pytest
from openai import BadRequestError

from finetune.states import JobState
from finetune.trainer.spec import RunSpec
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows
from tests.finetune.api.test_pretrain import upload, validated
from tests.finetune.trainer.runs import chat_rows as talks


def preferences(count: int = 12) -> bytes:
    lines = []
    for number, row in enumerate(talks(count)):
        *prompt, chosen = row["messages"]
        other = {"role": "assistant", "content": f"turn off {number}"}
        lines.append(
            {
                "input": {"messages": prompt, "tools": [], "parallel_tool_calls": True},
                "preferred_output": [chosen],
                "non_preferred_output": [other],
            }
        )
    return b"".join(json.dumps(line).encode() + b"\n" for line in lines)


def start(customer: Customer, file: str, **hyperparameters: Any) -> Any:
    method: Any = {"type": "dpo", "dpo": {"hyperparameters": hyperparameters}}
    return customer.client().fine_tuning.jobs.create(model=TINY, training_file=file, method=method)


def test_openais_request_is_what_the_trainer_is_told(customer: Customer) -> None:
    file = upload(customer, preferences(), "pairs.jsonl")
    created = start(customer, file, beta=0.3, n_epochs=2, batch_size=4)
    assert created.method.type == "dpo"
    assert created.method.dpo.hyperparameters.beta == 0.3
    job = validated(customer, created.id)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    asked = {"gradient_checkpointing": False, "micro_batch_tokens": 512}
    spec = RunSpec.model_validate(job.resolved["spec"] | asked)
    assert spec.objective == "dpo"
    assert spec.settings == {"beta": 0.3, "loss_type": "sigmoid", "label_smoothing": 0.0}
    assert job.total_steps == 6
    told = customer.client().fine_tuning.jobs.retrieve(created.id).method
    assert told is not None
    assert told.dpo is not None
    assert told.dpo.hyperparameters is not None
    assert told.dpo.hyperparameters.beta == 0.3
    assert told.dpo.hyperparameters.n_epochs == 2


def test_ours_and_auto_stand_beside_them(customer: Customer) -> None:
    file = upload(customer, preferences(), "pairs.jsonl")
    created = start(customer, file, beta="auto", loss_type="ipo", label_smoothing=0.1)
    job = validated(customer, created.id)
    settings = job.resolved["spec"]["settings"]
    assert settings == {"beta": 0.1, "loss_type": "ipo", "label_smoothing": 0.1}
    plain = customer.client().fine_tuning.jobs.create(
        model=TINY, training_file=upload(customer, chat_rows(), "chat.jsonl")
    )
    rates = [
        validated(customer, each).resolved["spec"]["optim"]["learning_rate"]
        for each in (created.id, plain.id)
    ]
    assert rates[0] == pytest.approx(rates[1] / 10)


@pytest.mark.parametrize(
    ("given", "param"),
    [
        ({"beta": 0}, "beta"),
        ({"beta": "much"}, "beta"),
        ({"beta": 101}, "beta"),
        ({"label_smoothing": 0.5}, "label_smoothing"),
        ({"loss_type": "hinge"}, "loss_type"),
        ({"n_epochs": 0}, "n_epochs"),
    ],
)
def test_what_is_out_of_range_is_named(customer: Customer, given: Any, param: str) -> None:
    file = upload(customer, preferences(2), "pairs.jsonl")
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, **given)
    assert refused.value.param == f"method.dpo.hyperparameters.{param}", refused.value.message


def test_chats_are_no_preferences_and_preferences_no_chats(customer: Customer) -> None:
    chats = upload(customer, chat_rows(), "chat.jsonl")
    with pytest.raises(BadRequestError, match="formats chosen, preference") as refused:
        start(customer, chats)
    assert (refused.value.code, refused.value.param) == ("wrong_kind_of_record", "training_file")
    pairs = upload(customer, preferences(2), "pairs.jsonl")
    with pytest.raises(BadRequestError, match="holds preference"):
        customer.client().fine_tuning.jobs.create(model=TINY, training_file=pairs)


def test_a_margin_beyond_all_numbers_is_refused(customer: Customer) -> None:
    """1 / (2 beta), squared: the first loss was infinite, and the job failed in training."""
    file = upload(customer, preferences(), "pairs.jsonl")
    assert start(customer, file, beta=1e-30).method.dpo.hyperparameters.beta == 1e-30
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, beta=1e-30, loss_type="ipo")
    assert refused.value.code == "invalid_value"
    assert "1/(2 beta)" in refused.value.message
