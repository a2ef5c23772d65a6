"""The main job on production parts: Redis, RabbitMQ, an S3 server."""

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from tests.fixtures.ports import own_port
from tests.fixtures.rabbitmq import rabbitmq_server
from tests.fixtures.stack import ODD, ROOT, Stack, a_stack
from tests.fixtures.waiting import stop, until, until_listening
from tests.flows.test_main_job import run_main_job
from tests.s3 import s3_server

pytestmark = pytest.mark.slow


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
