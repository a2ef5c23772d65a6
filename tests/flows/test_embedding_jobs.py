"""Learning vectors, over HTTP with the unmodified openai client: a base that embeds is trained by
each method of its own, its model answers /v1/embeddings, and its bundle is a folder for
sentence-transformers; one that ranks learns from the same rows and answers /v1/rerank."""

import io
import json
import subprocess
import sys
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from openai import BadRequestError

from tests.embedders import build_embedder
from tests.finetune.packaging.test_embedder import CLEAN
from tests.finetune.trainer.test_vectors import RETRIEVALS, SCORED
from tests.fixtures.stack import _IMPORT_MODEL, Stack
from tests.flows.test_main_job import bring, client_of, rows, wait_for
from tests.rerankers import build_reranker

pytestmark = pytest.mark.slow

TEXTS = ["turn on the light in the kitchen", "客厅"]


def lines(found: list[dict[str, Any]]) -> bytes:
    return b"\n".join(json.dumps(each).encode() for each in found)


def vectors(client: Any, model: str, **more: Any) -> torch.Tensor:
    found = client.embeddings.create(model=model, input=TEXTS, **more)
    return torch.tensor([each.embedding for each in found.data])


def test_vectors_are_learnt_asked_and_taken_away(stack: Stack, tmp_path: Path) -> None:
    base = build_embedder(tmp_path / "base", prompts={"query": "ask: ", "document": "say: "})
    stack.run(_IMPORT_MODEL, str(base), "embeds")
    stack.run(_IMPORT_MODEL, str(build_reranker(tmp_path / "ranks")), "ranks")
    tenant = stack.new_tenant("vectors", models=("tiny", "embeds", "ranks"))
    client = client_of(stack, tenant)
    found = (
        bring(client, lines(RETRIEVALS[:24])),
        bring(client, lines(RETRIEVALS[24:32]), "v.jsonl"),
    )
    scored = bring(client, lines(SCORED[:24]), "scored.jsonl")
    hyperparameters = {"n_epochs": 2, "batch_size": 8, "dimensions": [32, 16], "scale": 10}
    first = client.fine_tuning.jobs.create(
        model="embeds",
        training_file=found[0],
        validation_file=found[1],
        suffix="near",
        method={"type": "contrastive", "contrastive": {"hyperparameters": hyperparameters}},  # type: ignore[typeddict-item]
        extra_body={"adapter": {"r": 4}},
    )
    second = client.fine_tuning.jobs.create(
        model="embeds",
        training_file=scored,
        method={"type": "cosent"},  # type: ignore[typeddict-item]
        extra_body={"adapter": {"r": 4}},
    )
    third = client.fine_tuning.jobs.create(
        model="ranks",
        training_file=found[0],
        validation_file=found[1],
        method={"type": "rerank", "rerank": {"hyperparameters": {"pos_weight": 2}}},  # type: ignore[typeddict-item]
        extra_body={"adapter": {"r": 4}},
    )
    for model, file, method in (
        ("tiny", found[0], "contrastive"),
        ("embeds", found[0], "rerank"),
        ("embeds", bring(client, rows(8), "chat.jsonl"), "supervised"),
    ):
        with pytest.raises(BadRequestError) as refused:
            client.fine_tuning.jobs.create(
                model=model,
                training_file=file,
                method={"type": method},  # type: ignore[typeddict-item]
            )
        assert refused.value.code == "wrong_family"

    done = wait_for(client, first.id, "succeeded")
    told = done.method.model_dump()["contrastive"]["hyperparameters"]
    assert (told["scale"], told["dimensions"]) == (10, "32, 16")
    [result] = done.result_files
    columns = client.files.content(result).text.splitlines()[0].split(",")
    assert {"train_nearest", "valid_loss", "valid_nearest"} <= set(columns)
    model = done.fine_tuned_model
    tuned, plain = vectors(client, model), vectors(client, "embeds")
    assert tuned.shape == plain.shape == (2, 32)
    assert float((tuned - plain).abs().max()) > 1e-4
    assert vectors(client, model, dimensions=16).shape == (2, 16)
    with pytest.raises(BadRequestError) as unasked:
        client.chat.completions.create(model=model, messages=[{"role": "user", "content": "hi"}])
    assert unasked.value.code == "model_embeds"

    own = httpx.Client(
        base_url=f"{stack.url}/api/v1", headers={"Authorization": f"Bearer {tenant.api_key}"}
    )
    [artifact] = [each for each in own.get("/artifacts").json()["data"] if each["job"] == first.id]
    content = own.get(f"/artifacts/{artifact['id']}/content").content
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        tar.extractall(tmp_path / "bundle", filter="data")
    [folder] = {path.parent for path in (tmp_path / "bundle").rglob("passport.json")}
    passport = json.loads((folder / "passport.json").read_bytes())
    assert (passport["family"], passport["method"]) == ("embedding", "contrastive")
    assert folder.parent == base.parent  # beside which the base has to lie
    assert passport["recipe"]["prompts"] == {"query": "ask: ", "document": "say: "}
    clean = subprocess.run(
        [sys.executable, "-c", CLEAN, json.dumps(TEXTS)],
        cwd=folder,
        capture_output=True,
        text=True,
        check=True,
    )
    theirs = json.loads(clean.stdout.splitlines()[-1])
    assert float((torch.tensor(theirs["text"]) - tuned).abs().max()) < 1e-4
    queries = vectors(client, model, extra_body={"input_type": "query"})
    assert float((torch.tensor(theirs["query"]) - queries).abs().max()) < 1e-4

    assert wait_for(client, second.id, "succeeded").fine_tuned_model

    ranker = wait_for(client, third.id, "succeeded").fine_tuned_model
    asked = {"query": "turn on the fan in the hall", "documents": ["the hall has a fan", "no"]}
    by_base, by_ours = (
        httpx.post(
            f"{stack.url}/v1/rerank",
            headers={"Authorization": f"Bearer {tenant.api_key}"},
            json=asked | {"model": name},
        ).json()["results"]
        for name in ("ranks", ranker)
    )
    scores = [
        {each["index"]: each["relevance_score"] for each in told} for told in (by_base, by_ours)
    ]
    assert abs(scores[0][0] - scores[1][0]) > 1e-5
    [artifact] = [each for each in own.get("/artifacts").json()["data"] if each["job"] == third.id]
    evaluated = own.get(f"/artifacts/{artifact['id']}").json()["passport"]["evaluation"]
    assert {"ndcg@10", "mrr@10"} <= evaluated["metrics"].keys()
