"""What PostgreSQL writes to its log of a statement that failed: never the row."""

import shutil
from pathlib import Path
from typing import Any

import psycopg
import pytest

from privatune.stack import postgres
from privatune.stack.postgres import EmbeddedPostgres
from privatune.stack.secrets import ensure_secrets

SECRET = "canary-4711"


def provoke(connection: "psycopg.Connection[Any]") -> None:
    connection.execute("CREATE TEMPORARY TABLE t (a text, b text NOT NULL)")
    with pytest.raises(psycopg.errors.NotNullViolation, match=SECRET):
        connection.execute("INSERT INTO t VALUES (%s, NULL)", [SECRET])
    with pytest.raises(psycopg.errors.NotNullViolation, match=SECRET):
        connection.execute(f"INSERT INTO t VALUES ('{SECRET}', NULL)")  # type: ignore[arg-type]


def test_the_log_of_a_new_folder_holds_no_row(embedded_postgres: EmbeddedPostgres) -> None:
    with embedded_postgres.superuser() as connection:
        provoke(connection)
    log = (embedded_postgres.folder / "log").read_text("utf-8")
    assert "null value in column" in log
    assert SECRET not in log


@pytest.mark.slow
def test_a_folder_made_before_is_silenced_at_its_next_start_and_its_log_emptied(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = ensure_secrets(tmp_path)
    quiet = postgres.QUIET
    monkeypatch.setattr(postgres, "QUIET", "\n# as it was\n")
    before = EmbeddedPostgres(tmp_path / "pg", values)
    with before.superuser() as connection:
        provoke(connection)
    log = tmp_path / "pg" / "log"
    assert SECRET in log.read_text("utf-8")  # the fault itself
    before.stop()
    before._server.cleanup()

    monkeypatch.setattr(postgres, "QUIET", quiet)
    after = EmbeddedPostgres(tmp_path / "pg", values)
    try:
        with after.superuser() as connection:
            provoke(connection)
        assert SECRET not in log.read_text("utf-8")
    finally:
        after.stop()
        shutil.rmtree(tmp_path / "pg")
