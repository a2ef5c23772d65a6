"""`migrate`, as the owner role by default: the app's role cannot change a schema. It does not wait
for ever for a table that somebody uses, with everybody else waiting behind it."""

from typing import Any

from django.core.management.base import CommandError, CommandParser
from django.core.management.commands.migrate import Command as Migrate
from django.db import OperationalError, connections

LOCK_SECONDS = 10.0
LOCK_NOT_AVAILABLE = "55P03"  # SQLSTATE


class Command(Migrate):
    def add_arguments(self, parser: CommandParser) -> None:
        super().add_arguments(parser)
        parser.set_defaults(database="owner")

    def handle(self, *args: Any, **options: Any) -> str | None:
        connection = connections[options["database"]]
        _wait_for_locks(connection, f"{round(LOCK_SECONDS * 1000)}ms")
        try:
            done: str | None = super().handle(*args, **options)
        except OperationalError as error:
            if getattr(error.__cause__, "sqlstate", None) != LOCK_NOT_AVAILABLE:
                raise
            raise CommandError(
                f"Another session has used a table for {LOCK_SECONDS:g} seconds: "
                f"{str(error).strip().splitlines()[0]}. The migration that needs it was not "
                "applied; those before it were. Stop web, workers and trainers, then run "
                "`migrate` again."
            ) from error
        finally:
            if not connection.needs_rollback:
                _wait_for_locks(connection, "0")
        return done


def _wait_for_locks(connection: Any, how_long: str) -> None:
    with connection.cursor() as cursor:
        cursor.execute("SELECT set_config('lock_timeout', %s, false)", [how_long])
