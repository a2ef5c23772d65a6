"""The main job over HTTP with the unmodified openai client: on the embedded default, across a stop
and a start, and on production parts (Redis, RabbitMQ, an S3 server)."""

import io
import json
import os
import shlex
import shutil
import subprocess
import sys
import tarfile
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import httpx
import pytest
from openai import NotFoundError, OpenAI
from pydantic import BaseModel, Field

from finetune.packaging.verify import verify
from tests.fixtures.cluster import seed
from tests.fixtures.ports import own_port
from tests.fixtures.rabbitmq import rabbitmq_server
from tests.fixtures.stack import ROOT, Stack, StackTenant, import_tiny, start_stack, stop_stack
from tests.fixtures.waiting import stop, until, until_listening
from tests.s3 import s3_server

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
    assert_loads_with_peft(folder / "bundle" / "adapter", stack)

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


def assert_loads_with_peft(adapter: Path, stack: Stack) -> None:
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    [base] = [path for path in (stack.data / "models").iterdir() if (path / "base.json").exists()]
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


ODD = "my data, 'mine' 数据 #1 100%"  # what a folder may be called


def test_a_stopped_stack_goes_on_where_it_was_and_never_without_its_keys(
    tmp_path: Path, tiny_base: Path
) -> None:
    """SIGTERM in the middle of a run, start again: same key, same data, the run continues. It is
    long enough to be in its middle however late this process looks, and is not waited out."""
    data = tmp_path / ODD
    with a_stack(data, tiny_base) as (stack, process):
        tenant = stack.new_tenant("stop")
        client = client_of(stack, tenant)
        job = client.fine_tuning.jobs.create(
            model="tiny",
            training_file=bring(client, rows(60)),
            method={"type": "supervised", "supervised": {
                "hyperparameters": {"n_epochs": 50, "batch_size": 1}}},
        )  # fmt: skip
        wait_for_metrics(client, job.id)
        assert stop_stack(process) == 0
    with a_stack(data, None) as (stack, _process):
        client = client_of(stack, tenant)
        wait_for_metrics(client, job.id, after="Resumed from step ")
        client.fine_tuning.jobs.cancel(job.id)
        wait_for(client, job.id, "cancelled")
        events = list(client.fine_tuning.jobs.list_events(job.id, limit=100))
        steps = [event.data["step"] for event in events if event.type == "metrics"]
        assert len(steps) == len(set(steps)), "a step was reported twice"
    for name in ("master.json", "signing.pem"):
        refuses_to_start_without(data / "secrets" / name, stack)


def refuses_to_start_without(key: Path, stack: Stack) -> None:
    """And makes no other, which would open nothing."""
    kept = key.rename(key.with_suffix(".elsewhere"))
    command = [sys.executable, "-m", "privatune.cli", "up", "--data", str(stack.data)]
    done = subprocess.run(
        [*command, "--port", str(own_port())],
        env=stack.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode != 0
    assert str(key) in done.stderr
    assert "Traceback" not in done.stderr
    assert not key.exists()
    kept.rename(key)


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


@contextmanager
def a_stack(data: Path, base: Path | None, **extra: str) -> Iterator[tuple[Stack, Any]]:
    """Its database is migrated already: the stack that tests share is the one that starts from
    nothing."""
    if not data.exists():
        seed(data)
    process, first = start_stack(data, own_port(), **extra)
    running = Stack.of(data, first, **extra)
    try:
        if base is not None:
            import_tiny(running, base)
        yield running, process
    finally:
        if process.poll() is None:
            stop_stack(process)


@contextmanager
def redis_server(folder: Path) -> Iterator[str]:
    path = shutil.which("redis-server")
    if path is None:
        pytest.fail("redis-server is missing: apt-get install -y redis-server (make setup does)")
    port = own_port()
    folder.mkdir()
    process = subprocess.Popen(
        [path, "--port", str(port), "--bind", "127.0.0.1", "--save", "", "--dir", str(folder)],
        stdout=subprocess.DEVNULL,
    )
    try:
        until_listening(port, of=process)
        yield f"redis://127.0.0.1:{port}/0"
    finally:
        stop(process)


def test_the_main_job_on_redis_and_s3(tmp_path: Path, tiny_base: Path) -> None:
    with redis_server(tmp_path / "redis") as broker, s3_server(tmp_path / "s3") as s3:
        extra = {
            "BROKER_URL": broker,
            "PRIVATUNE_OBJECTS": s3.bucket("tenants"),
            "AWS_ACCESS_KEY_ID": os.environ["AWS_ACCESS_KEY_ID"],
            "AWS_SECRET_ACCESS_KEY": os.environ["AWS_SECRET_ACCESS_KEY"],
        }
        with a_stack(tmp_path / ODD, tiny_base, **extra) as (stack, _process):
            run_main_job(stack, stack.new_tenant("s3"), tmp_path)
        # What the operator of the bucket sees: ciphertext under the tenant's prefix, and no rows.
        stored = [path for path in (tmp_path / "s3" / "tenants").rglob("*") if path.is_file()]
        assert stored
        assert not any(b"lamp" in path.read_bytes() for path in stored)
        assert not list((tmp_path / ODD / "objects").iterdir())


def test_the_main_job_on_rabbitmq_with_more_trainers(tmp_path: Path, tiny_base: Path) -> None:
    """RabbitMQ refuses a second worker of one name: the documented names come up together."""
    with rabbitmq_server(tmp_path / "rabbitmq") as broker, ExitStack() as started:
        stack, _process = started.enter_context(
            a_stack(tmp_path / "data", tiny_base, BROKER_URL=broker)
        )
        names = ("train-0@%h", "train-1@%h")
        logs = [started.enter_context(a_trainer(stack, name, tmp_path)) for name in names]
        for log, trainer in logs:
            until_said(log, " ready.", trainer)
        nodes = json.loads(stack.run(_NODES))
        by_name = {name.partition("@")[0]: queues for name, queues in nodes.items()}
        assert by_name == {
            "io": ["io"], "train": ["train"], "train-0": ["train"], "train-1": ["train"],
        }  # fmt: skip
        with a_trainer(stack, names[0], tmp_path, log="same-name") as (log, refused):
            until_said(log, "ResourceLocked", refused)
        run_main_job(stack, stack.new_tenant("rabbit"), tmp_path)
        for log, _ in logs:
            assert "Traceback" not in log.read_text(), log.read_text()


# Who is there, and what each listens to, by the broker's own word.
_NODES = """
import json
from privatune.celery_app import app
answers = app.control.inspect(timeout=60, limit=4).active_queues()
print(json.dumps({name: [each["name"] for each in queues] for name, queues in answers.items()}))
"""


def documented_trainer(name: str) -> list[str]:
    """The trainer's command as docs/how-to/deploy.md has it, with another number in its name."""
    text = (ROOT / "docs/how-to/deploy.md").read_text("utf-8")
    [line] = [line for line in text.splitlines() if line.startswith("PRIVATUNE_PROCESS=trainer ")]
    _, *command = shlex.split(line, comments=True)
    assert command[0] == "celery"
    assert command[-2:] == ["-n", "train-0@%h"]
    return [sys.executable, "-m", *command[:-1], name]


@contextmanager
def a_trainer(
    stack: Stack, name: str, folder: Path, log: str = ""
) -> "Iterator[tuple[Path, subprocess.Popen[bytes]]]":
    """One more trainer beside a running stack, and its log."""
    path = folder / f"{log or name.partition('@')[0]}.log"
    with path.open("ab") as out:
        process = subprocess.Popen(
            documented_trainer(name),
            env=stack.environment | {"PRIVATUNE_PROCESS": "trainer"},
            stdout=out,
            stderr=out,
        )
    try:
        yield path, process
        assert log or process.poll() is None, path.read_text()
    finally:
        stop(process)


def until_said(log: Path, words: str, trainer: "subprocess.Popen[bytes]") -> None:
    said = log.read_text
    until(lambda: words in said(), f"it did not say {words!r}", of=trainer, moving=said, said=said)
