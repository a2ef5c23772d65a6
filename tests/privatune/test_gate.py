"""No process works on a database of another version; a migration waits for nobody for ever."""

from collections.abc import Iterator
from typing import Any

import psycopg
import pytest
from django.core.management import CommandError, call_command
from django.db import connections
from django.db.migrations.recorder import MigrationRecorder

from privatune import celery_app
from privatune.gate import require_installation
from tenants.management.commands import migrate

NEWEST = "9999_of_another_version"


def of_another_version(monkeypatch: pytest.MonkeyPatch, version: str) -> str:
    """Makes the database older or newer; the name of the migration in question."""
    applied = MigrationRecorder(connections["default"]).applied_migrations()
    last = max(key for key in applied if key[0] == "finetune")
    if version == "newer":
        seen: Any = applied | {("finetune", NEWEST): None}
        last = ("finetune", NEWEST)
    else:
        seen = {key: row for key, row in applied.items() if key != last}
    monkeypatch.setattr(MigrationRecorder, "applied_migrations", lambda _: seen)
    return ".".join(last)


@pytest.mark.django_db
@pytest.mark.parametrize("version", ["older", "newer"])
@pytest.mark.parametrize("start", [require_installation, celery_app._require_installation])
def test_on_a_database_of_another_version_a_process_says_so_and_ends(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], version: str, start: Any
) -> None:
    start()  # of this one it starts
    name = of_another_version(monkeypatch, version)
    with pytest.raises(SystemExit) as ended:
        start()
    assert ended.value.code == 78
    said = capsys.readouterr().err
    assert f"privatune does not start: The database is {version} than this version" in said
    assert name in said
    assert "Fix: " in said


@pytest.fixture
def another_session(committed: None) -> Iterator[psycopg.Connection[Any]]:
    """Of the owner, beside the tests' own."""
    with psycopg.connect(**connections["owner"].get_connection_params()) as session:
        yield session
        session.rollback()


def test_a_migration_that_meets_a_table_in_use_gives_up_and_says_what_to_do(
    another_session: "psycopg.Connection[Any]", monkeypatch: pytest.MonkeyPatch
) -> None:
    another_session.execute("LOCK TABLE django_migrations IN ACCESS EXCLUSIVE MODE")
    monkeypatch.setattr(migrate, "LOCK_SECONDS", 0.05)
    with pytest.raises(CommandError, match=r"Stop web, workers and trainers, then run `migrate`"):
        call_command("migrate", verbosity=0)
    with connections["owner"].cursor() as cursor:
        cursor.execute("SHOW lock_timeout")
        assert cursor.fetchone() == ("0",), "what comes after it waits as before"
