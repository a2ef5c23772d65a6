"""Logs name an error's type and place; what it says of a row, a prompt or a value stays out."""

import logging

import psycopg
import pytest
from django.db import IntegrityError, connection, transaction

from faults import UserFault
from finetune.discretion import DiscreetFormatter, told, trace

SECRET = "canary-4711"


def formatted(message: str, *args: object, error: BaseException | None = None) -> str:
    info = (type(error), error, error.__traceback__) if error else None
    record = logging.LogRecord("x", logging.ERROR, __file__, 1, message, args, info)
    return DiscreetFormatter("%(message)s").format(record)


def raised(error: BaseException) -> BaseException:
    try:
        raise error
    except BaseException as caught:
        return caught


@pytest.mark.django_db
def test_a_failing_row_is_told_by_its_column_and_not_by_its_values() -> None:
    with connection.cursor() as cursor:
        cursor.execute("CREATE TEMPORARY TABLE rows (text text, format text NOT NULL)")
        with pytest.raises(IntegrityError) as caught, transaction.atomic():
            cursor.execute("INSERT INTO rows VALUES (%s, NULL)", [SECRET])
    assert SECRET in str(caught.value)  # what PostgreSQL's DETAIL hands to the client
    text = formatted("it failed", error=caught.value)
    assert SECRET not in text
    assert "IntegrityError [SQLSTATE 23502] at rows, format" in text
    assert "test_discretion.py" in text  # the place stays


def test_an_unforeseen_exception_and_all_that_led_to_it_keep_their_words_to_themselves() -> None:
    try:
        try:
            int(SECRET)
        except ValueError as first:
            raise KeyError(SECRET) from first
    except KeyError as error:
        text = trace(error)
    assert SECRET not in text
    assert "ValueError" in text
    assert "KeyError" in text


def test_what_speaks_of_the_machine_is_told_in_full() -> None:
    assert "No space left" in told(OSError(28, "No space left on device"))
    assert told(psycopg.OperationalError("connection refused\nmore")).endswith("connection refused")
    assert told(UserFault("bad_row", SECRET)) == "UserFault [bad_row]"


def test_an_exception_given_as_argument_is_told_the_same_way() -> None:
    assert SECRET not in formatted("a call failed: %s", ValueError(SECRET))


def test_celerys_own_line_about_a_failed_task_is_told_the_same_way() -> None:
    error = raised(ValueError(SECRET))
    context = {"name": "t", "id": "1", "exc": repr(error), "args": SECRET}
    text = formatted("Task %(name)s[%(id)s] raised unexpected: %(exc)s", context, error=error)
    assert SECRET not in text
    assert "ValueError" in text
