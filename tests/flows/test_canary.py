"""A customer's words are looked for wherever they must not be: on a real stack, after a whole run,
after failed ones, and after deletion.

In the clear by design, and so looked for only after deletion, and only in the rows: names of files.
Not looked for at all: a model's suffix, a job's metadata, members' addresses. Memory and swap are
not looked at.
"""

import io
import json
import os
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import psycopg
import pytest
from openai import BadRequestError, NotFoundError, OpenAI
from psycopg import sql

from tests.fixtures.stack import Stack, StackTenant
from tests.flows.test_main_job import client_of, wait_for

pytestmark = pytest.mark.slow

MARK = f"canary{uuid.uuid4().hex[:12]}"
ROW, ANSWER, KEY, ROLE, LONG, PROMPT = (
    f"{MARK}{place}" for place in ("row", "answer", "key", "role", "long", "prompt")
)
NAME = f"label{uuid.uuid4().hex[:12]}"
BLOCK = 1 << 22


def jsonl(*rows: dict[str, Any]) -> bytes:
    return "".join(json.dumps(row) + "\n" for row in rows).encode()


def chat(user: str, assistant: str) -> dict[str, Any]:
    messages = [{"role": "user", "content": user}, {"role": "assistant", "content": assistant}]
    return {"messages": messages}


class Place:
    """Everything the stack writes to, and ways to look for a string in it."""

    def __init__(self, stack: Stack) -> None:
        self.stack = stack
        self.since = time.time()

    def rows(self) -> Iterator[tuple[str, str]]:
        """Each row of each table as text, read by PostgreSQL's superuser, whom no policy binds."""
        with self._superuser() as connection:
            tables = connection.execute(
                "SELECT schemaname, tablename FROM pg_tables"
                " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
            ).fetchall()
            for schema, table in tables:
                name = sql.Identifier(schema, table)
                for (row,) in connection.execute(sql.SQL("SELECT t::text FROM {} t").format(name)):
                    yield table, row

    def tables_with(self, *texts: str) -> set[str]:
        return {table for table, row in self.rows() if any(text in row for text in texts)}

    def files_with(self, *texts: str) -> list[str]:
        """Files of the data folder (rows on disk, WAL, logs, queue, objects, run folders), what the
        stack printed, and what lies in the machine's temporary folder since it began."""
        wanted = [text.encode() for text in texts]
        return [str(path) for path in self._files() if holds(path, wanted)]

    def _files(self) -> Iterator[Path]:
        data = self.stack.data
        yield data.parent / f"{data.name}.err"
        for path in files_below(data):
            if not path.is_relative_to(data / "models"):
                yield path
        for path in Path(tempfile.gettempdir()).glob("*"):
            if path.name.startswith(("privatune-", "tmp", "pymp", "celery")):
                for each in files_below(path):
                    with suppress(FileNotFoundError):  # other tests' come and go
                        if each.stat().st_mtime >= self.since:
                            yield each

    def _superuser(self) -> "psycopg.Connection[Any]":
        for path in (self.stack.data / "secrets").glob("*.json"):
            values = json.loads(path.read_text())
            if "DATABASE_SUPERUSER_PASSWORD" in values:
                return psycopg.connect(
                    host=str(self.stack.data / "pg"),
                    user="postgres",
                    password=values["DATABASE_SUPERUSER_PASSWORD"],
                    dbname="privatune",
                    autocommit=True,
                )
        pytest.fail("the superuser's password was not found")


def files_below(path: Path) -> Iterator[Path]:
    """The file itself, or all of the folder's, but those that go while we look."""
    if path.is_file():
        yield path
    for folder, _, names in os.walk(path):  # passes over a folder that is gone
        for name in names:
            file = Path(folder) / name
            if file.is_file():
                yield file


def holds(path: Path, texts: list[bytes]) -> bool:
    before, overlap = b"", max(map(len, texts))
    try:
        with path.open("rb") as file:
            while block := file.read(BLOCK):
                if any(text in before + block for text in texts):
                    return True
                before = block[-overlap:]
    except FileNotFoundError:  # a run folder, a queue's message: gone meanwhile
        pass
    return False


@pytest.fixture
def place(stack: Stack) -> Place:
    return Place(stack)


def test_no_word_of_a_customer_is_found_where_it_must_not_be(stack: Stack, place: Place) -> None:
    tenant, stranger = stack.new_tenant("canary"), stack.new_tenant("curious")
    client = client_of(stack, tenant)
    assert "tenants_tenant" in place.tables_with(tenant.slug)  # the search finds what is there
    assert any("pg" in found for found in place.files_with(tenant.slug))

    answers, job_id = a_whole_run(client)
    nothing_is_found(place, answers)
    failed_runs(client, tenant, stack)
    nothing_is_found(place, answers)
    nothing_is_told(client, client_of(stack, stranger), job_id, stack)

    model = client.fine_tuning.jobs.retrieve(job_id).fine_tuned_model
    assert model is not None
    assert place.tables_with(NAME)  # a label, while the file is there
    for file in client.files.list():
        client.files.delete(file.id)
    client.models.delete(model)
    nothing_is_found(place, answers)
    assert place.tables_with(NAME) == set()


def a_whole_run(client: OpenAI) -> tuple[list[str], str]:
    """Up to asking the model; returns what it answered, and the job."""
    rows = jsonl(*[chat(f"{ROW} {i}", f"{ANSWER} {i}") for i in range(12)])
    file = client.files.create(file=(f"{NAME}.jsonl", io.BytesIO(rows)), purpose="fine-tune")
    assert client.files.wait_for_processing(file.id, poll_interval=0.5).status == "processed"
    job = client.fine_tuning.jobs.create(
        model="tiny",
        training_file=file.id,
        validation_file=file.id,
        method={"type": "supervised", "supervised": {"hyperparameters": {"n_epochs": 1}}},
    )
    done = wait_for(client, job.id, "succeeded")
    asked: Any = {
        "model": done.fine_tuned_model,
        "messages": [{"role": "user", "content": PROMPT}],
        "max_tokens": 24,
    }
    said = client.chat.completions.create(**asked).choices[0].message.content or ""
    pieces = client.chat.completions.create(**asked, stream=True)
    streamed = "".join(p.choices[0].delta.content or "" for p in pieces if p.choices)
    with pytest.raises(BadRequestError):
        client.chat.completions.create(**asked | {"temperature": PROMPT})
    return [text for text in (said, streamed) if len(text) >= 12], job.id


def failed_runs(client: OpenAI, tenant: StackTenant, stack: Stack) -> None:
    """A file of no known format, one with a role that nobody knows, rows that are too long, and an
    adapter that fits no layer, which only the training finds out."""
    own = httpx.Client(
        base_url=f"{stack.url}/api/v1", headers={"Authorization": f"Bearer {tenant.api_key}"}
    )
    faulty = {
        KEY: jsonl({KEY: "a", "b": KEY}),
        ROLE: jsonl({"messages": [{"role": ROLE, "content": ROLE}]}),
    }
    for text, data in faulty.items():
        file = client.files.create(file=("a.jsonl", io.BytesIO(data)), purpose="fine-tune")
        checked = client.files.wait_for_processing(file.id, poll_interval=0.5)
        assert checked.status == "error"
        readings = own.get("/datasets").json()["data"]
        [report] = [each["report"] for each in readings if each["file"] == file.id]
        assert text in json.dumps(report)  # whoever may read the file sees what is wrong with it

    good = jsonl(*[chat(f"{LONG} {i}", f"{LONG} " * 40) for i in range(4)])
    file = client.files.create(file=("long.jsonl", io.BytesIO(good)), purpose="fine-tune")
    client.files.wait_for_processing(file.id, poll_interval=0.5)
    for extra in ({"max_length": 64}, {"adapter": {"alpha": 1e38}}):
        job = client.fine_tuning.jobs.create(model="tiny", training_file=file.id, extra_body=extra)
        ended(client, job.id)


def ended(client: OpenAI, job_id: str) -> None:
    wait_for(client, job_id, "failed")


def nothing_is_found(place: Place, answers: list[str]) -> None:
    """Neither what begins as all planted words do, nor what the model said."""
    assert place.tables_with(MARK, *answers) == set()
    assert place.files_with(MARK, *answers) == []


def nothing_is_told(client: OpenAI, other: OpenAI, job_id: str, stack: Stack) -> None:
    """To the other tenant, and to whoever asks the pages that need no key."""
    told: list[str] = []
    job = client.fine_tuning.jobs.retrieve(job_id)
    for ask in (
        lambda: other.fine_tuning.jobs.retrieve(job_id),
        lambda: other.files.content(job.training_file),
        lambda: other.models.retrieve(str(job.fine_tuned_model)),
    ):
        with pytest.raises(NotFoundError) as caught:
            ask()
        told.append(caught.value.response.text)
    told += [httpx.get(stack.url + path).text for path in ("/healthz", "/metrics", "/")]
    assert not [text for text in told if MARK in text]
