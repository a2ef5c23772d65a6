"""A customer's words stay in the vault: no row of the database quotes a file, whatever is wrong."""

import json
from collections.abc import Iterator
from typing import Any

import pytest
from django.apps import apps
from django.db import connection

from finetune.records.check.child import check_in_child
from finetune.records.check.spec import CheckSpec
from finetune.services.files import datasets
from finetune.services.jobs.validation import VALIDATE
from finetune.states import DatasetState, JobState
from finetune.work.isolation import isolation
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tests.finetune.services.jobs.test_validation import check
from tests.fixtures.jobs import Bench, jsonl
from tests.fixtures.principals import somebody

SECRET = "canary4711"
FAULTY = {
    "unknown_format": [{SECRET: "a", "b": SECRET}],
    "unknown_role": [{"messages": [{"role": SECRET, "content": "a"}]}],
    "unknown_field": [{"messages": [], SECRET: 1}],
    "duplicate_key": f'{{"{SECRET}": 1, "{SECRET}": 2}}\n',
    "bad_weight": [{"messages": [{"role": "assistant", "content": "a", "weight": SECRET}]}],
}


def everything() -> Iterator[tuple[str, str]]:
    """Every row of every table of ours, as PostgreSQL writes it."""
    for model in apps.get_models():
        with connection.cursor() as cursor:
            cursor.execute(f'SELECT t::text FROM "{model._meta.db_table}" t')
            for (row,) in cursor.fetchall():
                yield model._meta.db_table, row


def quoted(bench: Bench, secret: str = SECRET) -> list[str]:
    with tenant_scope(bench.tenant.id):
        return [table for table, row in everything() if secret in row]


@pytest.mark.parametrize("code", FAULTY)
def test_a_faulty_file_leaves_figures_in_the_row_and_its_words_in_the_vault(
    bench: Bench, code: str
) -> None:
    rows: Any = FAULTY[code]
    file, dataset = check(bench, rows.encode() if isinstance(rows, str) else jsonl(rows))
    assert (dataset.state, dataset.error) == (DatasetState.REFUSED, None)
    assert code in dataset.report["problem_counts"]
    assert code in (file.status_details or "")
    with tenant_scope(bench.tenant.id):
        full = datasets.full_report(dataset, by=somebody(dataset.tenant_id))
    assert SECRET in json.dumps(full)
    assert quoted(bench) == []


def test_the_row_of_a_file_of_no_known_format_says_what_is_taken(
    bench: Bench, tmp_path: Any
) -> None:
    """Nothing about it is a fault of ours, and the command line finds the same."""
    data = jsonl([{"question": "a", "reply": "b"}])
    file, dataset = check(bench, data)
    assert dataset.format == ""
    with tenant_scope(bench.tenant.id):
        full = datasets.full_report(dataset, by=somebody(dataset.tenant_id))
    assert full is not None
    [problem] = full["problems"]
    assert "question, reply" in problem["message"]
    assert "messages (chat)" in problem["fix"]
    assert "cannot be told" in (file.status_details or "")
    (tmp_path / "rows.jsonl").write_bytes(data)
    spec = CheckSpec(source=tmp_path / "rows.jsonl", source_name=file.filename)
    alone = check_in_child(spec, tmp_path / "out", level=isolation()).model_dump(mode="json")
    assert {name: full[name] for name in alone} == alone


def test_a_failed_job_and_its_events_quote_nothing(bench: Bench) -> None:
    rows = [
        {"messages": [{"role": "user", "content": f"{SECRET} {i}"},
                      {"role": "assistant", "content": f"{SECRET} " * 80}]}
        for i in range(3)
    ]  # fmt: skip
    rows[1][SECRET] = "an unknown field"  # type: ignore[assignment]
    job = bench.create(file=bench.add_file(jsonl(rows)), max_length=64)
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    job = bench.job(job)
    assert (job.state, job.error["where"]) == (JobState.FAILED, "line 1")
    assert "max_length" in job.error["fix"]
    assert quoted(bench) == []
