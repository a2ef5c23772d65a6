"""Whether an exception tells of a database that is away, restarting, full or moved, or of our code.

Classes do not say it: psycopg and PgBouncer tell a cut connection by OperationalError,
InterfaceError or InternalError, and Django raises others over them.
"""

from collections.abc import Iterator

import django.db
import psycopg

# Beginnings of SQLSTATEs after which the same request may do. 08 connection, 25006 the server has
# become a stand-by, 25P03/4 it ended the transaction, 40 rolled back for another's sake, 53 no
# room, memory or connection left, 55P03 a lock was not free, 57 stopped by the operator, 58 its
# disk. https://www.postgresql.org/docs/current/errcodes-appendix.html
PASSING = ("08", "25006", "25P03", "25P04", "40", "53", "55P03", "57", "58")
DISK_FULL = "53100"
FOR_ANOTHER = "40"  # rolled back for another's sake: a deadlock, for one
# Of these, ones that no server sent are about the line to it: psycopg gets nothing, or one result
# too many, when the connection ends or PgBouncer adds an error of its own.
_OF_THE_LINE = (psycopg.OperationalError, psycopg.InterfaceError, psycopg.InternalError)


def is_away(error: BaseException) -> bool:
    """Looks at what it was raised from as well: Django says `UpdateError` or `TransactionManagement
    Error` when the connection was lost below it."""
    for found in _raised_from(error):
        if isinstance(found, psycopg.Error):
            return _is_passing(found)
        if isinstance(found, django.db.InterfaceError) and found.__cause__ is None:
            return True  # Django's own: the connection was closed before
    return False


def is_full(error: BaseException) -> bool:
    """Whether the database's disk had no room, which passes only when somebody makes some."""
    for found in _raised_from(error):
        if isinstance(found, psycopg.Error):
            return found.sqlstate == DISK_FULL
    return False


def is_conflict(error: BaseException) -> bool:
    """Whether the transaction was rolled back for another's sake: it may do at once."""
    for found in _raised_from(error):
        if isinstance(found, psycopg.Error):
            return (found.sqlstate or "").startswith(FOR_ANOTHER)
    return False


def _raised_from(error: BaseException) -> Iterator[BaseException]:
    """The exception, and what lies below it."""
    seen: set[int] = set()
    found: BaseException | None = error
    while found is not None and id(found) not in seen:
        seen.add(id(found))
        yield found
        found = found.__cause__ or found.__context__


def _is_passing(error: psycopg.Error) -> bool:
    if error.sqlstate is None:
        return isinstance(error, _OF_THE_LINE)
    return error.sqlstate.startswith(PASSING)
