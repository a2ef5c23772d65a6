"""Documents, then examples, then preferences, with one request over the real door: each stage on
the weights of the one before, its held-out loss told, and the result verified offline."""

import json
from pathlib import Path
from typing import Any

import httpx
import pytest

from finetune.packaging.verify import verify
from tests.finetune.api.test_dpo import preferences
from tests.fixtures.stack import Stack
from tests.fixtures.waiting import until
from tests.flows.test_main_job import bring, client_of, rows

pytestmark = pytest.mark.slow


def documents(count: int, start: int = 0) -> bytes:
    lines = [f"Lamp {i % 7} stands in room {i}. To turn it on, say lamp {i % 7} is on." for i in
             range(start, start + count)]  # fmt: skip
    return "".join(json.dumps({"text": line}) + "\n" for line in lines).encode()


def stage(client: Any, method: str, train: bytes, held_out: bytes) -> dict[str, Any]:
    asked = {"hyperparameters": {"n_epochs": 1, "batch_size": 8}}
    return {
        "method": {"type": method, method: asked},
        "training_file": bring(client, train, f"{method}.jsonl"),
        "validation_file": bring(client, held_out, f"{method}-held-out.jsonl"),
    }


def test_three_stages_leave_one_adapter_that_knows_where_it_comes_from(
    stack: Stack, tmp_path: Path
) -> None:
    tenant = stack.new_tenant("stages")
    client = client_of(stack, tenant)
    own = httpx.Client(
        base_url=f"{stack.url}/api/v1",
        headers={"Authorization": f"Bearer {tenant.api_key}"},
        timeout=120,
    )
    plan = {"model": "tiny", "adapter": {"r": 4, "alpha": 8}, "seed": 7, "stages": [
        stage(client, "pretrain", documents(32), documents(6, start=100)),
        stage(client, "supervised", rows(32), rows(6, offset=3)),
        stage(client, "dpo", preferences(16), preferences(4)),
    ]}  # fmt: skip
    made = own.post("/pipelines", json=plan)
    assert made.status_code == 200, made.text

    def now() -> Any:
        answer = own.get(f"/pipelines/{made.json()['id']}")
        assert answer.status_code == 200, answer.text
        return answer.json()

    def ended() -> bool:
        found = now()
        assert found["status"] not in ("failed", "cancelled"), found["error"]
        return bool(found["status"] == "succeeded")

    def moving() -> list[Any]:
        return [(each["status"], each["job"]) for each in now()["stages"]]

    until(ended, "the pipeline has not succeeded", moving=moving, said=lambda: f"{now()}", pause=1)
    pipeline = now()
    assert [each["method"] for each in pipeline["stages"]] == ["pretrain", "supervised", "dpo"]
    for each in pipeline["stages"]:
        assert each["start_valid_loss"] > 0
        assert each["valid_loss"] > 0
    assert pipeline["stages"][2]["start_valid_loss"] == pytest.approx(0.6931, abs=1e-3)
    assert pipeline["estimate"]["trained_tokens"] == sum(
        each["expected"]["trained_tokens"] for each in pipeline["stages"]
    )

    models = {each["model"]: each for each in own.get("/artifacts").json()["data"]}
    last = models[pipeline["fine_tuned_model"]]
    chain = own.get(f"/artifacts/{last['id']}/chain").json()["data"]
    assert [each["model"] for each in chain] == [
        each["fine_tuned_model"] for each in pipeline["stages"]
    ]
    lineage = last["passport"]["lineage"]
    assert [each["method"] for each in lineage] == ["pretrain", "sft"]
    assert [each["adapter_sha256"] for each in lineage] == [
        models[each["fine_tuned_model"]]["adapter_sha256"] for each in pipeline["stages"][:2]
    ]
    bundle = tmp_path / "bundle.tar"
    bundle.write_bytes(own.get(f"/artifacts/{last['id']}/content").content)
    report = verify(bundle, own.get("/signing-key").json()["public_key_pem"].encode())
    assert report.ok, report.problems
