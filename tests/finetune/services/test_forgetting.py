"""The migration that takes customers' words out of rows written before they went to the vault."""

import json
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from django.db import connections
from django.db.migrations.executor import MigrationExecutor

from finetune.models import Dataset, Event, Job
from finetune.services.jobs.steps import take_over
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tests.fixtures.jobs import chat_rows, jsonl, new_bench

SECRET = "canary4711"


def problem(line: int) -> dict[str, Any]:
    message = f"The role '{SECRET}' is not known."
    return {"line": line, "field": SECRET, "code": "unknown_role", "severity": "error",
            "message": message, "fix": "Mend it."}  # fmt: skip


@pytest.mark.usefixtures("committed")
def test_what_old_rows_quote_goes_and_their_counts_stay(tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    file = bench.add_file(jsonl(chat_rows(2)), status="processed")
    job = bench.create(file=file)
    report = {"rows": 2, "source_name": SECRET, "problem_counts": {"unknown_role": 1},
              "problems": [problem(2)]}  # fmt: skip
    error = {"code": "invalid_training_file", "message": f"line 2: {SECRET}", "where": "line 2"}
    with tenant_scope(bench.tenant.id):
        dataset = Dataset.objects.create(file=file, report=report, state="refused")
        StoredFile.objects.filter(id=file.id).update(status="error", status_details=SECRET)
        Job.objects.filter(id=job.id).update(error=error, training_data=dataset)
        take_over(job, [{"level": "error", "message": f"The job failed: line 2: {SECRET}"}])

    migration = import_module("finetune.migrations.0004_figures")
    owner = connections["owner"]
    state = MigrationExecutor(owner).loader.project_state()  # the table has lost columns since
    for _ in range(2):  # again does no harm
        migration.forget(state.apps, SimpleNamespace(connection=owner))

    with tenant_scope(bench.tenant.id):
        rows = [Dataset.objects.values().get(id=dataset.id), Job.objects.values().get(id=job.id),
                StoredFile.objects.values().get(id=file.id),
                *Event.objects.filter(job=job).values()]  # fmt: skip
    assert SECRET not in json.dumps(rows, default=str)
    kept = rows[0]["report"]
    assert (kept["rows"], kept["problem_counts"]) == (2, {"unknown_role": 1})
    assert kept["first_error"] == {"code": "unknown_role", "line": 2}
    assert rows[1]["error"]["where"] == "line 2"
    assert "unknown_role (1)" in rows[2]["status_details"]
