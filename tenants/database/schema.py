"""Whether the database has the tables that this version's code was written for."""

from django.db import DEFAULT_DB_ALIAS, connections
from django.db.migrations.executor import MigrationExecutor

from faults import OurFault

SHOWN = 3


class WrongSchema(OurFault):
    """Of another version: with it the code would fail at some row, or write what that misreads."""


def check() -> None:
    """Raises WrongSchema for a database that is older or newer than the code."""
    loader = (executor := MigrationExecutor(connections[DEFAULT_DB_ALIAS])).loader
    ours = {key for key in loader.applied_migrations if key[0] in loader.migrated_apps}
    if newer := sorted(ours - set(loader.disk_migrations)):
        raise WrongSchema(
            "database_newer",
            f"The database is newer than this version of Privatune, which does not know "
            f"{_named(newer)}.",
            fix="Install the version that migrated it, or put back a backup made before.",
        )
    plan = executor.migration_plan(loader.graph.leaf_nodes())
    if plan:
        older = [(migration.app_label, migration.name) for migration, _ in plan]
        raise WrongSchema(
            "database_older",
            f"The database is older than this version of Privatune, or has no tables yet; it lacks "
            f"{_named(older)}.",
            fix="Stop all processes, run `manage.py migrate` as the process `migrate`, and start "
            "them again.",
        )


def _named(migrations: list[tuple[str, str]]) -> str:
    shown = ", ".join(f"{app}.{name}" for app, name in migrations[:SHOWN])
    more = len(migrations) - SHOWN
    return f"{shown} and {more} more" if more > 0 else shown
