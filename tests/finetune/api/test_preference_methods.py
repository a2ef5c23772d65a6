"""Methods that learn from the same pairs as `dpo`, asked for by the unmodified client: each has its
own settings, and is told what the trainer is."""

import json
from typing import Any

import pytest
from openai import BadRequestError

from finetune.api.wire.job_create import Method
from finetune.services.jobs.request import Hyperparameters
from finetune.states import JobState
from finetune.trainer.objectives import METHODS
from privatune.portal.method_fields import OF_METHODS
from privatune.portal.words import METHODS_TOLD
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows
from tests.finetune.api.test_dpo import preferences
from tests.finetune.api.test_pretrain import upload, validated


def start(customer: Customer, file: str, kind: str, **hyperparameters: Any) -> Any:
    method: Any = {"type": kind, kind: {"hyperparameters": hyperparameters}}
    return customer.client().fine_tuning.jobs.create(model=TINY, training_file=file, method=method)


REWARD = {"margin": 0.0, "center_rewards_coefficient": 0.0}
KTO = {"beta": 0.1, "desirable_weight": 1.0, "undesirable_weight": 1.0}


def ratings(count: int = 12) -> bytes:
    rows = [
        {"prompt": f"Lamp {n}?", "completion": " on" if n % 3 else " off", "label": n % 2 == 0}
        for n in range(count)
    ]
    return b"".join(json.dumps(row).encode() + b"\n" for row in rows)


@pytest.mark.parametrize(
    ("kind", "asked", "settings", "rate"),
    [
        ("orpo", {"beta": 0.2}, {"beta": 0.2}, 0.25),
        ("simpo", {"gamma": 1.5}, {"beta": 2.0, "gamma": 1.5}, 0.1),
        ("simpo", {"beta": "auto"}, {"beta": 2.0, "gamma": 0.5}, 0.1),
        ("reward", {"margin": 1}, REWARD | {"margin": 1.0}, 0.5),
        ("kto", {"beta": 0.3}, KTO | {"beta": 0.3}, 0.1),
        ("kto", {"undesirable_weight": 2}, KTO | {"undesirable_weight": 2.0}, 0.1),
    ],
)
def test_what_is_asked_is_what_the_trainer_is_told(
    customer: Customer, kind: str, asked: Any, settings: Any, rate: float
) -> None:
    file = upload(customer, preferences(), "pairs.jsonl")
    created = start(customer, file, kind, n_epochs=2, batch_size=4, **asked)
    plain = customer.client().fine_tuning.jobs.create(
        model=TINY, training_file=upload(customer, chat_rows(), "chat.jsonl")
    )
    job = validated(customer, created.id)
    assert (job.state, job.error) == (JobState.QUEUED, None)
    spec = job.resolved["spec"]
    assert (spec["method"], spec["settings"]) == (kind, settings)
    usual = validated(customer, plain.id).resolved["spec"]["optim"]["learning_rate"]
    assert spec["optim"]["learning_rate"] == pytest.approx(rate * usual)
    told: Any = customer.client().fine_tuning.jobs.retrieve(created.id).method
    shown = told.model_dump()[kind]["hyperparameters"]
    assert {name: shown[name] for name in settings} == settings
    assert (told.type, shown["n_epochs"]) == (kind, 2)


@pytest.mark.parametrize(
    ("kind", "given", "param"),
    [
        ("orpo", {"beta": 0}, "beta"),
        ("orpo", {"gamma": 1}, "gamma"),
        ("simpo", {"gamma": -1}, "gamma"),
        ("simpo", {"label_smoothing": 0.1}, "label_smoothing"),
        ("reward", {"margin": -1}, "margin"),
        ("reward", {"beta": 1}, "beta"),
        ("kto", {"desirable_weight": 0}, "desirable_weight"),
        ("kto", {"gamma": 1}, "gamma"),
        ("kto", {"batch_size": 1}, "batch_size"),
    ],
)
def test_what_is_out_of_range_or_of_another_method_is_named(
    customer: Customer, kind: str, given: Any, param: str
) -> None:
    file = upload(customer, preferences(2), "pairs.jsonl")
    with pytest.raises(BadRequestError) as refused:
        start(customer, file, kind, **given)
    assert refused.value.param == f"method.{kind}.hyperparameters.{param}", refused.value.message


@pytest.mark.parametrize("kind", ["orpo", "simpo", "reward"])
def test_chats_are_no_pairs(customer: Customer, kind: str) -> None:
    chats = upload(customer, chat_rows(), "chat.jsonl")
    with pytest.raises(BadRequestError, match="formats chosen, preference") as refused:
        start(customer, chats, kind)
    assert (refused.value.code, refused.value.param) == ("wrong_kind_of_record", "training_file")


def test_ratings_are_trained_by_the_method_for_them_alone(customer: Customer) -> None:
    file = upload(customer, ratings(), "ratings.jsonl")
    job = validated(customer, start(customer, file, "kto", batch_size=4, n_epochs=1).id)
    assert (job.state, job.total_steps, job.error) == (JobState.QUEUED, 3, None)
    assert job.training_data is not None
    assert (job.training_data.report or {})["good"] == 6
    for kind in ("dpo", "orpo"):
        with pytest.raises(BadRequestError, match="holds rated") as refused:
            start(customer, file, kind)
        assert refused.value.code == "wrong_kind_of_record"
    chats = upload(customer, chat_rows(), "chat.jsonl")
    with pytest.raises(BadRequestError, match="formats chosen, preference, rated"):
        start(customer, chats, "kto")


def test_the_portal_offers_every_one_and_asks_for_each_of_its_settings() -> None:
    ours = {name: each for name, each in METHODS.items() if "pair" in each.records.names}
    assert ours.keys() >= {"dpo", "orpo", "simpo", "kto", "reward"}
    assert ours.keys() <= METHODS_TOLD.keys()
    for each in ours.values():
        assert each.settings is not None
        assert each.settings.model_fields.keys() <= set(OF_METHODS)


@pytest.mark.parametrize("method", sorted(METHODS))
def test_the_wire_takes_what_the_method_has_settings_for(method: str) -> None:
    """And nothing else, but OpenAI's own words for the same."""
    own = getattr(METHODS[method].settings, "model_fields", {}).keys()
    body = Method.model_fields[method].annotation.__args__[0]  # type: ignore[union-attr]
    offered = body.model_fields["hyperparameters"].annotation.model_fields.keys()
    openais = {"compute_multiplier", "eval_interval", "eval_samples", "reasoning_effort"}
    ours = offered - Hyperparameters.model_fields.keys() - openais
    assert ours == own - {"num_generations_eval"}  # OpenAI's `eval_samples`
