"""`privatune tenant shred`, the real command, killed with -9 in the middle of every step.

Each step is held by what it needs, a row, a table or the store's lock, so it dies there and nowhere
else; the same command again then goes on.
"""

import fcntl
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any
from uuid import UUID

import psycopg
import pytest
from django.db import connections

from finetune.models import Dataset
from finetune.services import shredding
from finetune.services.files import datasets
from finetune.services.files.checking import CHECK
from finetune.services.jobs.validation import VALIDATE
from finetune.signing import public_key_pem
from finetune.work.perform import perform
from tenants.access import authenticate_key
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.models import IdempotencyRecord, Tenant
from tenants.services.tenants import create_key
from tenants.services.vaults import object_store, open_vault
from tenants.trail.certificates import check_certificate
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.waiting import until

pytestmark = [pytest.mark.usefixtures("committed"), pytest.mark.slow]

ROOT = Path(__file__).resolve().parents[3]
BLOCKED = """
SELECT EXISTS (SELECT 1 FROM pg_locks WHERE NOT granted AND %s = ANY (pg_blocking_pids(pid)))
"""


class Shred:
    """The command as a process; what it says goes to a file."""

    def __init__(self, slug: str, said: Path) -> None:
        self._said = said
        environment = os.environ | {
            "PRIVATUNE_PROCESS": "operator",
            "DJANGO_SETTINGS_MODULE": "privatune.settings",
            "PYTHONPATH": f"{ROOT}:{ROOT / 'platform'}",
        }
        command = ["-m", "privatune.cli", "tenant", "shred", slug, "--confirm", slug, "--json"]
        with said.open("wb") as errors:
            self.process = subprocess.Popen(
                [sys.executable, *command],
                env=environment,
                stdout=subprocess.PIPE,
                stderr=errors,
                text=True,
            )

    def until(self, stuck: Callable[[], bool]) -> None:
        until(stuck, "it is not held there", of=self.process, said=self._said.read_text)

    def kill(self) -> None:
        self.process.kill()
        assert self.process.wait() == -signal.SIGKILL
        assert self.process.stdout is not None
        self.process.stdout.close()

    def finish(self) -> dict[str, Any]:
        out, _ = self.process.communicate()
        assert self.process.returncode == 0, self._said.read_text()
        return dict(json.loads(out))


class Locks:
    """Holds rows and tables in a transaction of its own."""

    def __init__(self, server: Any) -> None:
        self._connection = psycopg.connect(
            host=server.socket_folder,
            user="postgres",
            password=server._values["DATABASE_SUPERUSER_PASSWORD"],
            dbname=connections["default"].settings_dict["NAME"],
        )
        self._pid = self._connection.info.backend_pid

    def take(self, statement: str, *values: Any) -> "Locks":
        self._connection.execute(statement, values)  # type: ignore[call-overload]
        return self

    def hold_somebody(self) -> bool:
        row = self._connection.execute(BLOCKED, [self._pid]).fetchone()
        return bool(row and row[0])

    def let_go(self) -> None:
        self._connection.close()


@contextmanager
def _pruning_held() -> Iterator[None]:
    """The folder store deletes one object, and waits at this lock to remove its empty folder."""
    folder = os.open(object_store().root / ".partial", os.O_RDONLY)  # type: ignore[attr-defined]
    fcntl.flock(folder, fcntl.LOCK_SH)
    try:
        yield
    finally:
        os.close(folder)


def objects_of(tenant_id: UUID) -> list[str]:
    return sorted(object_store().list(f"{tenant_id}/"))


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    """A tenant with a checked file, a queued job and a kept answer."""
    bench = new_bench(tiny_base)
    job = bench.create()
    perform(VALIDATE, tenant_id=bench.tenant.id, key=job.id)
    with tenant_scope(bench.tenant.id):
        IdempotencyRecord.objects.create(key="k", route="r", body_sha256="x", sealed=b"noise")
    return bench


def test_killed_anywhere_it_goes_on_and_signs_and_neighbours_read_everything(
    bench: Bench, tiny_base: Path, tmp_path: Path, embedded_postgres: Any
) -> None:
    tenant_id, slug = bench.tenant.id, bench.tenant.slug
    neighbour, read_by_neighbour = _neighbour(tiny_base)
    _, secret = create_key(tenant_id=tenant_id, name="k", actor="test")
    before, ciphertext = shredding.find(tenant_id=tenant_id), objects_of(tenant_id)
    assert len(ciphertext) > 1

    def killed_at(statement: str, *values: Any) -> None:
        locks = Locks(embedded_postgres).take(statement, *values)
        command = Shred(slug, tmp_path / "said")
        command.until(locks.hold_somebody)
        command.kill()
        locks.let_go()

    own_row = "SELECT 1 FROM tenants_tenant WHERE id = %s FOR UPDATE"
    killed_at(own_row, tenant_id)  # before the key's end is committed
    assert authenticate_key(secret).tenant_id == tenant_id
    with tenant_scope(tenant_id):
        vault = open_vault()
        assert vault.list()
        assert [vault.read_bytes(name) is not None for name in vault.list()]

    killed_at("SELECT 1 FROM finetune_job WHERE tenant_id = %s FOR UPDATE", tenant_id)
    with tenant_scope(tenant_id):
        assert Tenant.objects.get(id=tenant_id).wrapped_key is None
    assert objects_of(tenant_id) == ciphertext, "noise already"

    with _pruning_held():
        command = Shred(slug, tmp_path / "said")
        command.until(lambda: objects_of(tenant_id) != ciphertext)
        command.kill()
    left = objects_of(tenant_id)
    assert 0 < len(left) < len(ciphertext)

    killed_at("LOCK TABLE tenants_idempotencyrecord IN ACCESS EXCLUSIVE MODE")
    assert objects_of(tenant_id) == []

    with ExitStack() as held:  # before the certificate: the same row, once the key's step is past
        rows = Locks(embedded_postgres)
        held.callback(rows.let_go)
        rows.take("LOCK TABLE tenants_idempotencyrecord IN ACCESS EXCLUSIVE MODE")
        command = Shred(slug, tmp_path / "said")
        command.until(rows.hold_somebody)
        signing = Locks(embedded_postgres).take(own_row, tenant_id)
        held.callback(signing.let_go)
        rows.let_go()
        command.until(signing.hold_somebody)
        command.kill()
    with tenant_scope(tenant_id):
        assert "signature" not in (Tenant.objects.get(id=tenant_id).certificate or {})

    certificate = Shred(slug, tmp_path / "said").finish()
    assert check_certificate(certificate, public=public_key_pem()).problem is None
    assert certificate["destroyed"] == before, "what there was, and not what the last one found"
    assert objects_of(tenant_id) == []
    with tenant_scope(tenant_id):
        assert not IdempotencyRecord.objects.exists()
        assert Dataset.objects.exclude(rows_object="").count() == 0
    assert shredding.shred(tenant_id=tenant_id, actor=Actor.operator("test")) == certificate
    assert authenticate_key(neighbour).tenant_id != tenant_id
    read_by_neighbour()


def _neighbour(tiny_base: Path) -> tuple[str, Callable[[], None]]:
    """Another tenant's key, and a look that it still reads all that it had."""
    neighbour = new_bench(tiny_base)
    data = jsonl(chat_rows(6))
    file = neighbour.add_file(data)
    _, secret = create_key(tenant_id=neighbour.tenant.id, name="k", actor="test")
    with tenant_scope(neighbour.tenant.id):
        reading = datasets.request_check(file=file)
    perform(CHECK, tenant_id=neighbour.tenant.id, key=reading.id)
    with tenant_scope(neighbour.tenant.id):
        vault = open_vault()
    kept = {name: vault.read_bytes(name) for name in vault.list()}
    assert kept[file.object_name] == data

    def read() -> None:
        assert {name: vault.read_bytes(name) for name in vault.list()} == kept

    return secret, read
