"""Errors as logs may tell them: their type, their place in the code, and words only of ours.

What an exception says may quote a row, a prompt or a failed statement's values. So its words are
logged only for kinds that speak of the machine (a path, a socket) or of the code.
"""

import logging
import re
import traceback
from types import TracebackType
from typing import Any

from faults import Fault

ErrorInfo = (
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)
# They speak of files, modules and code, never of what is in a value.
OUTSPOKEN = (OSError, ImportError, AttributeError, NameError, TypeError, NotImplementedError)

# What in an address opens something: tokens in paths, and codes and names in queries.
_IN_PATHS = re.compile(r"(/invitation/|/password/reset/key/)[^/\s'\"]+")
_IN_QUERIES = re.compile(r"(\b[A-Z]{3,7} /[^\s?'\"]*)\?[^\s'\"]*")


def without_tokens(line: str) -> str:
    """A log line in which an invitation, a password reset or a sign-in's code is not readable."""
    return _IN_QUERIES.sub(r"\1?...", _IN_PATHS.sub(r"\1...", line))


def told(error: BaseException) -> str:
    """One line without a customer's words."""
    name = type(error).__name__
    if isinstance(error, Fault):
        return f"{name} [{error.code}]"
    if (state := getattr(error, "sqlstate", None)) or _is_of_a_database(error):
        return _of_database(error, name, state)
    return f"{name}: {error}" if isinstance(error, OUTSPOKEN) else name


def _is_of_a_database(error: BaseException) -> bool:
    return type(error).__module__.startswith(("django.db", "psycopg"))


def _of_database(error: BaseException, name: str, state: str | None) -> str:
    """SQLSTATE and the names in the schema; the message itself carries the row's values."""
    cause = error if state else error.__cause__
    diag = getattr(cause, "diag", None)
    state = state or getattr(cause, "sqlstate", None)
    if state is None:  # no statement failed: the connection did
        return f"{name}: {str(error).partition(chr(10))[0]}"
    fields = ("table_name", "column_name", "constraint_name")
    place = ", ".join(str(found) for field in fields if (found := getattr(diag, field, None)))
    return f"{name} [SQLSTATE {state}]{f' at {place}' if place else ''}"


def trace(error: BaseException) -> str:
    """The traceback of the whole chain: places of code, and `told` for each exception."""
    parts: list[str] = []
    seen: set[int] = set()
    each: BaseException | None = error
    while each is not None and id(each) not in seen:
        seen.add(id(each))
        frames = "".join(traceback.format_tb(each.__traceback__))
        parts.insert(0, f"{frames}{told(each)}")
        each = each.__cause__ or (None if each.__suppress_context__ else each.__context__)
    return "\n-- which led to --\n".join(parts)


class DiscreetFormatter(logging.Formatter):
    """Formats a record whose exceptions, in its arguments or beside it, are told discreetly, and
    whose addresses open nothing."""

    def format(self, record: logging.LogRecord) -> str:
        discreet = logging.makeLogRecord(record.__dict__)
        discreet.exc_text = None
        discreet.args = _without_words(record)
        return without_tokens(super().format(discreet))

    def formatException(self, ei: ErrorInfo) -> str:
        return trace(ei[1]) if ei[1] is not None else ""


def _without_words(record: logging.LogRecord) -> Any:
    """The arguments; of Celery's own messages about a failed task, only the exception's type."""
    args = record.args
    if isinstance(args, dict):
        error = record.exc_info[1] if record.exc_info else None
        hidden = {name: "" for name in ("args", "kwargs", "traceback") if name in args}
        if "exc" in args:
            hidden["exc"] = told(error) if error is not None else "an exception"
        return args | hidden
    if isinstance(args, tuple):
        return tuple(told(each) if isinstance(each, BaseException) else each for each in args)
    return args
