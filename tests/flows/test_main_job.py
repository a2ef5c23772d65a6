"""The main job over HTTP with the unmodified openai client, on the embedded default."""

import io
import json
import tarfile
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI
from pydantic import BaseModel, Field

from finetune.packaging.verify import verify
from tests.fixtures.stack import Stack, StackTenant
from tests.fixtures.waiting import until

pytestmark = pytest.mark.slow


class Lamp(BaseModel):
    number: int = Field(ge=0, le=6)
    on: bool


def rows(count: int, offset: int = 0) -> bytes:
    return "\n".join(
        json.dumps({"messages": [
            {"role": "user", "content": f"turn on lamp {i % 7} now"},
            {"role": "assistant", "content": f"lamp {i % 7} is on"},
        ]})
        for i in range(offset, offset + count)
    ).encode()  # fmt: skip


def client_of(stack: Stack, tenant: StackTenant) -> OpenAI:
    return OpenAI(base_url=stack.base_url, api_key=tenant.api_key, max_retries=2)


def bring(client: OpenAI, data: bytes, name: str = "train.jsonl") -> str:
    file = client.files.create(file=(name, io.BytesIO(data)), purpose="fine-tune")
    assert client.files.wait_for_processing(file.id, poll_interval=0.5).status == "processed"
    return file.id


def long_job(client: OpenAI) -> Any:
    """It is in its middle however late one looks."""
    return client.fine_tuning.jobs.create(
        model="tiny",
        training_file=bring(client, rows(60)),
        method={"type": "supervised", "supervised": {
            "hyperparameters": {"n_epochs": 50, "batch_size": 1}}},
    )  # fmt: skip


ENDED = {"succeeded", "failed", "cancelled"}
ASK_EVERY = 1.0  # seconds: two requests each time, beside the training that they ask for


def wait_for(client: OpenAI, job_id: str, *states: str) -> Any:
    """The job in one of the states; waits for as long as it says something new."""

    def jobs() -> Any:
        return client.fine_tuning.jobs.retrieve(job_id)

    def told() -> list[str]:
        return [event.message for event in client.fine_tuning.jobs.list_events(job_id, limit=20)]

    def there() -> bool:
        job = jobs()
        assert job.status in states or job.status not in ENDED, (job.status, job.error)
        return job.status in states

    until(there, f"not {states}", moving=told, said=lambda: f"{told()}", pause=ASK_EVERY)
    return jobs()


def run_main_job(stack: Stack, tenant: StackTenant, folder: Path) -> None:
    """Upload, train, fetch, verify, load with plain peft, ask."""
    client = client_of(stack, tenant)
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=bring(client, rows(40)),
        validation_file=bring(client, rows(10, offset=3), "valid.jsonl"),
        suffix="lamps",
        seed=7,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 2}}},
        extra_body={"adapter": {"r": 4, "alpha": 8}},
    )
    done = wait_for(client, job.id, "succeeded")
    assert done.fine_tuned_model.startswith(f"ft:tiny:{tenant.slug}:lamps:")
    assert done.error is None
    assert done.trained_tokens > 0
    [result] = done.result_files
    table = client.files.content(result).text.splitlines()
    assert table[0] == "step,train_loss,train_accuracy,valid_loss,valid_mean_token_accuracy"

    own = httpx.Client(
        base_url=f"{stack.url}/api/v1",
        headers={"Authorization": f"Bearer {tenant.api_key}"},
    )
    [artifact] = own.get("/artifacts").json()["data"]
    bundle = folder / "bundle.tar"
    bundle.write_bytes(own.get(f"/artifacts/{artifact['id']}/content").content)
    key = own.get("/signing-key").json()["public_key_pem"]
    report = verify(bundle, key.encode())
    assert report.ok, report.problems
    with tarfile.open(bundle) as tar:
        tar.extractall(folder / "bundle", filter="data")
    digest = artifact["passport"]["base"]["digest"]
    base = stack.data / "models" / digest.removeprefix("sha256:")
    assert_loads_with_peft(folder / "bundle" / "adapter", base)

    asked = {"messages": [{"role": "user", "content": "turn on lamp 3 now"}], "max_tokens": 8}
    raw = client.chat.completions.with_raw_response.create(model=done.fine_tuned_model, **asked)
    assert raw.headers["x-privatune-adapter-digest"].endswith(artifact["adapter_sha256"])
    assert raw.parse().choices[0].message.content is not None
    streamed = client.chat.completions.create(model=done.fine_tuned_model, stream=True, **asked)
    assert [chunk.choices[0].finish_reason for chunk in streamed if chunk.choices][-1]
    kept = client.chat.completions.parse(  # schemas compile in a child of the sandboxed server
        model=done.fine_tuned_model, response_format=Lamp, **asked | {"max_tokens": 100}
    )
    assert isinstance(kept.choices[0].message.parsed, Lamp)


def assert_loads_with_peft(adapter: Path, base: Path) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = PeftModel.from_pretrained(AutoModelForCausalLM.from_pretrained(base), adapter)
    assert any("lora_B" in name for name, _ in model.named_parameters())


def test_the_main_job_on_the_embedded_stack(stack: Stack, tmp_path: Path) -> None:
    run_main_job(stack, stack.new_tenant("main"), tmp_path)


def test_a_strangers_model_and_job_do_not_exist(stack: Stack) -> None:
    owner, stranger = stack.new_tenant("owner"), stack.new_tenant("stranger")
    client = client_of(stack, owner)
    job = client.fine_tuning.jobs.create(model="tiny", training_file=bring(client, rows(8)))
    done = wait_for(client, job.id, "succeeded")
    other = client_of(stack, stranger)
    with pytest.raises(NotFoundError):
        other.fine_tuning.jobs.retrieve(job.id)
    with pytest.raises(NotFoundError):
        other.chat.completions.create(
            model=done.fine_tuned_model, messages=[{"role": "user", "content": "hello"}]
        )


def wait_for_metrics(client: OpenAI, job_id: str, *, after: str = "") -> None:
    """Until a step is told of, after a message that begins so."""

    def events() -> list[Any]:
        return list(client.fine_tuning.jobs.list_events(job_id, limit=100))  # the newest first

    def seen() -> bool:
        told = events()
        begun = [n for n, event in enumerate(told) if event.message.startswith(after)]
        return any(event.type == "metrics" for event in told[: begun[0] + 1 if begun else 0])

    def moving() -> int:
        return len(events())

    until(seen, "no metrics arrived", moving=moving, pause=ASK_EVERY)
