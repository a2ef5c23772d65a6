"""Waiting for each other by name, where no row stands for what is contended."""

from django.db import connection


def lock(name: str) -> None:
    """Waits for the name and holds it to the end of the open transaction.

    The database hashes it to 64 bits: of two names that collide one waits longer than it must.
    """
    with connection.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [name])
