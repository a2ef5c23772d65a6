"""The audit trail leaves over the real server by the real command, signed by the worker's task,
and is verified offline."""

import json
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
from django.db import connection

from finetune import tasks
from finetune.services import trail
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tenants.services.tenants import create_key
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.waiting import until
from tests.privatune.cli.conftest import Run, run  # noqa: F401  a fixture

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def customer(base_url: str, monkeypatch: pytest.MonkeyPatch) -> Customer:
    customer = new_customer(base_url)
    monkeypatch.setenv("PRIVATUNE_BASE_URL", base_url)
    monkeypatch.setenv("PRIVATUNE_API_KEY", customer.key)
    return customer


@contextmanager
def a_worker(customer: Customer) -> Iterator[None]:
    """Does with the nudge that an export sends what the worker does."""
    before = exports(customer)

    def sign_when_asked() -> None:
        try:
            until(lambda: exports(customer) > before, "no export was recorded")
            tasks.sign_head(str(customer.tenant_id), str(customer.tenant_id))
        finally:
            connection.close()

    with ThreadPoolExecutor(1) as pool:
        signed = pool.submit(sign_when_asked)
        yield
        signed.result()


def exports(customer: Customer) -> int:
    with tenant_scope(customer.tenant_id):
        return AuditEntry.objects.filter(action="audit.export").count()


def test_an_export_is_recorded_signed_and_verifies_offline(
    run: Run,  # noqa: F811
    customer: Customer,
    tmp_path: Path,
) -> None:
    path, pem = tmp_path / "audit.jsonl", tmp_path / "key.pem"
    with a_worker(customer):
        done = run("audit", "export", "-o", str(path), "--json")
    assert done.exit_code == 0, done.output
    pem.write_text(trail.public_key_pem())
    # In a process that cannot import Django: a customer's machine room.
    code = (
        "import sys; sys.modules['django'] = None\n"
        "from privatune.cli.app import app\n"
        "app(sys.argv[1:])"
    )
    command = [sys.executable, "-c", code, "audit", "verify", str(path), "--key", str(pem)]
    told = subprocess.run([*command, "--json"], capture_output=True, text=True, check=False)
    assert told.returncode == 0, told.stderr
    report = json.loads(told.stdout)
    assert (report["ok"], report["trust"]) == (True, "key")
    assert report["signed_to"] == report["entries"], "the head covers the export's own entry"
    entries = [json.loads(line) for line in path.read_text().splitlines()]
    assert [each["action"] for each in entries if each["type"] == "entry"][-1] == "audit.export"


def test_a_later_export_is_compared_with_an_earlier_one(
    run: Run,  # noqa: F811
    customer: Customer,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    earlier, later = tmp_path / "earlier.jsonl", tmp_path / "later.jsonl"
    for path in (earlier, later):
        create_key(tenant_id=customer.tenant_id, name="x", actor="test")
        trail.sign_head(tenant_id=customer.tenant_id)
        with a_worker(customer):
            assert run("audit", "export", "-o", str(path)).exit_code == 0
    done = run("audit", "verify", str(later), "--since", str(earlier))
    assert done.exit_code == 0, done.output
    done = run("audit", "verify", str(earlier), "--since", str(later), "--json")
    assert done.exit_code == 1
    problems = json.loads(done.stdout)["problems"]
    assert {each["code"] for each in problems} == {"truncated"}


def test_a_key_without_the_scope_exports_nothing(base_url: str) -> None:
    stranger = new_customer(base_url, scopes=["files:read"])
    with stranger.http() as http:
        assert http.get("/api/v1/audit/export").status_code == 403
