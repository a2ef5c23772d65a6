"""Every method that learns from preferences, over HTTP with the unmodified openai client: asked,
trained to its end, told in the result's passport, and answering."""

import io
import json
import tarfile
from typing import Any

import httpx
import openai
import pytest

from finetune.trainer.objectives import METHODS
from tests.fixtures.stack import Stack
from tests.flows.test_main_job import bring, client_of, wait_for

pytestmark = pytest.mark.slow

ASKED: dict[str, dict[str, Any]] = {
    "dpo": {"beta": 0.2},
    "orpo": {"beta": 0.5},
    "simpo": {"gamma": 1.0},
    "kto": {"undesirable_weight": 1.5},
    "reward": {"margin": 0.5},
}


def pairs(count: int) -> bytes:
    return "\n".join(
        json.dumps(
            {
                "prompt": [{"role": "user", "content": f"turn on lamp {i % 7}"}],
                "chosen": [{"role": "assistant", "content": f"lamp {i % 7} is on"}],
                "rejected": [{"role": "assistant", "content": "no" + " way" * (i % 3)}],
            }
        )
        for i in range(count)
    ).encode()


def ratings(count: int) -> bytes:
    rows = [json.loads(line) for line in pairs(count).splitlines()]
    return "\n".join(
        json.dumps(
            {
                "prompt": row["prompt"],
                "completion": row["chosen" if number % 2 else "rejected"],
                "label": bool(number % 2),
            }
        )
        for number, row in enumerate(rows)
    ).encode()


def test_each_method_trains_to_its_end_and_its_model_answers(stack: Stack) -> None:
    assert ASKED.keys() == {n for n, each in METHODS.items() if "pair" in each.records.names}
    tenant = stack.new_tenant("preferences")
    client = client_of(stack, tenant)
    train, held_out = bring(client, pairs(12)), bring(client, pairs(3), "valid.jsonl")
    rated = bring(client, ratings(12), "ratings.jsonl")
    wishes = [(kind, train, held_out) for kind in ASKED] + [("kto", rated, None)]
    made = []
    for kind, file, valid in wishes:
        method: Any = {
            "type": kind,
            kind: {"hyperparameters": {"n_epochs": 2, "batch_size": 4} | ASKED[kind]},
        }
        made.append(
            client.fine_tuning.jobs.create(
                model="tiny",
                training_file=file,
                **({"validation_file": valid} if valid else {}),
                suffix=kind,
                method=method,
                extra_body={"adapter": {"r": 4, "alpha": 8}},
            )
        )
    own = httpx.Client(
        base_url=f"{stack.url}/api/v1", headers={"Authorization": f"Bearer {tenant.api_key}"}
    )
    for job, (kind, _, valid) in zip(made, wishes, strict=True):
        done = wait_for(client, job.id, "succeeded")
        told = done.method.model_dump()
        assert told["type"] == kind
        assert told[kind]["hyperparameters"].items() >= ASKED[kind].items()
        [result] = done.result_files
        columns = client.files.content(result).text.splitlines()[0].split(",")
        assert {"train_loss", "train_rewards_margins", "valid_rewards_chosen"} <= set(columns)
        assert ("valid_logps_chosen" in columns) == (kind != "reward")
        metrics = [
            event.data
            for event in client.fine_tuning.jobs.list_events(job.id, limit=100)
            if event.type == "metrics"
        ]
        assert any("valid_rewards_margins" in data for data in metrics) == bool(valid)
        passport = passport_of(own, job.id)
        assert passport["method"] == kind
        assert passport["hyperparameters"].items() >= ASKED[kind].items()
        assert done.fine_tuned_model is not None
        if kind == "reward":
            told_apart = passport["evaluation"]["preferences"]
            assert (passport["family"], told_apart["pairs"]) == ("scoring", 3)
            assert passport["parity"]["adapter"]["max_abs_diff"] < 1e-3
            refuses_to_write(client, done.fine_tuned_model)
            continue
        answer = client.chat.completions.create(
            model=done.fine_tuned_model,
            messages=[{"role": "user", "content": "turn on lamp 3"}],
            max_tokens=8,
        )
        assert answer.usage is not None
        assert answer.usage.completion_tokens > 0


def refuses_to_write(client: openai.OpenAI, model: str) -> None:
    with pytest.raises(openai.BadRequestError) as refused:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    assert refused.value.code == "model_scores"


def passport_of(own: httpx.Client, job_id: str) -> dict[str, Any]:
    [artifact] = [each for each in own.get("/artifacts").json()["data"] if each["job"] == job_id]
    content = own.get(f"/artifacts/{artifact['id']}/content").content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        file = tar.extractfile("passport.json")
        assert file is not None
        found: dict[str, Any] = json.load(file)
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        card = tar.extractfile("model-card.md")
        assert card is not None
        assert f"Method {found['method']}" in card.read().decode()
    return found
