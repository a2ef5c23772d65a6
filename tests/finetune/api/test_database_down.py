"""A database that is killed, away or silent, met through every door of a running server."""

import os
import signal
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from typing import Any

import django.db
import httpx
import psycopg
import pytest
from openai import InternalServerError

from finetune.api.explaining import explain
from privatune.stack.postgres import EmbeddedPostgres
from tenants.database.away import is_away
from tests.finetune.api.conftest import PLAIN, serving_http
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.waiting import until
from tests.privatune.edge.conftest import signed_in

TRIES = 5


@pytest.fixture(scope="module")
def _url(django_db_setup: None) -> Iterator[str]:
    """A server with the product's own patience, which is what is looked at."""
    with serving_http(PLAIN) as (url, _):
        yield url


@pytest.fixture
def customer(_url: str, committed: None) -> Customer:
    return new_customer(_url)


def pid_of(server: EmbeddedPostgres) -> int:
    return int((server.folder / "postmaster.pid").read_text().splitlines()[0])


@contextmanager
def killed(server: EmbeddedPostgres) -> Iterator[None]:
    """The database dies by kill -9 and runs again afterwards."""
    django.db.connections.close_all()
    os.kill(pid_of(server), signal.SIGKILL)
    try:
        yield
    finally:
        until(
            lambda: "PostgreSQL had died and runs again." in server.tend(),
            "it did not start again",
            pause=0.1,
        )


@contextmanager
def silent(server: EmbeddedPostgres) -> Iterator[None]:
    """It takes connections and says nothing, as a machine that hangs."""
    django.db.connections.close_all()
    pid = pid_of(server)
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def ask(url: str, **headers: str) -> httpx.Response:
    return httpx.get(url, headers=headers)


def health(url: str) -> Any:
    return ask(f"{url}/healthz").json()


def unreachable(url: str) -> httpx.Response:
    """What health says as soon as it says that the database is away: for two seconds it tells what
    it has found before."""
    told: list[httpx.Response] = []
    until(lambda: told.append(ask(f"{url}/healthz")) or told[-1].status_code != 200, "it is well")
    return told[-1]


PERSON = {"accept": "text/html", "accept-language": "zh-hans"}


@pytest.mark.slow
def test_without_a_database_every_door_says_503_and_when_to_come_back(
    customer: Customer, embedded_postgres: Any
) -> None:
    cookie, url = signed_in(customer), customer.base_url
    room = f"{url}/t/{customer.slug}/files/"
    assert ask(room, cookie=cookie).status_code == 200
    well = {"status": "ok", "database": "ok", "broker": "ok", "objects": "ok"}
    until(lambda: health(url) == well, "a part did not answer in two seconds, again and again")
    key = f"Bearer {customer.key}"
    with killed(embedded_postgres), ThreadPoolExecutor(4) as pool:
        wire = pool.submit(customer.client().files.list)
        own = pool.submit(ask, f"{url}/api/v1/keys", authorization=key)
        page = pool.submit(ask, room, cookie=cookie, **PERSON)
        told = unreachable(url)
        assert told.status_code == 503
        assert (told.json()["status"], told.json()["database"]) == ("down", "unreachable")
        if own.done():  # a request waits ten seconds, in which this process may not have run
            assert any(
                unreachable(url) and not asked.done()
                for asked in (pool.submit(ask, room, cookie=cookie) for _ in range(TRIES))
            ), "who looks at health must not wait as long as a request does"
        with pytest.raises(InternalServerError) as caught:
            wire.result()
        error = caught.value
        assert error.body == {
            "message": "The database does not answer. Try again in a few seconds.",
            "type": "server_error", "param": None, "code": "database_down",
        }  # fmt: skip
        for response in (error.response, own.result(), page.result()):
            assert response.status_code == 503, response.text
            assert response.headers["retry-after"] == "5"
            assert response.headers["x-request-id"].startswith("req_")
        assert own.result().json()["code"] == "database_down"
        assert "数据库没有响应" in page.result().text
    assert customer.client(max_retries=5).files.list().data == []
    assert ask(room, cookie=cookie).status_code == 200


@pytest.mark.slow
def test_a_silent_database_is_told_while_it_is_silent(
    customer: Customer, embedded_postgres: Any
) -> None:
    with silent(embedded_postgres):
        assert unreachable(customer.base_url).json()["database"] == "unreachable"


def raised(state: str, kind: type[psycopg.Error] | None = None) -> BaseException:
    """As Django raises it over psycopg's."""
    cause = (kind or psycopg.errors.lookup(state))("said by the server")
    error = django.db.InternalError("wrapped")
    error.__cause__ = cause
    return error


@pytest.mark.parametrize(
    ("state", "away"),
    [
        ("57P01", True),  # pg_terminate_backend, a restart
        ("57P02", True),
        ("57P03", True),  # starting up
        ("08P01", True),  # PgBouncer's own words
        ("53300", True),  # no connection left
        ("53100", True),  # its disk is full
        ("25006", True),  # a stand-by since the fail-over
        ("25P03", True),
        ("40P01", True),
        ("XX000", False),  # an InternalError of the server's
        ("XX001", False),
        ("25P02", False),  # our code went on in a failed transaction
        ("54001", False),
        ("42P01", False),
        ("23505", False),
    ],
)
def test_the_state_decides_and_not_the_class(state: str, away: bool) -> None:
    assert is_away(raised(state)) is away


def test_a_full_database_is_told_as_full_and_not_as_silent() -> None:
    problem = explain(raised("53100"))
    assert (problem.status, problem.code, problem.retry_after) == (503, "storage_full", 5)
    assert explain(raised("53300")).code == "database_down"


def test_an_error_that_no_server_sent_is_about_the_line() -> None:
    for kind in (psycopg.InternalError, psycopg.OperationalError, psycopg.InterfaceError):
        assert is_away(raised("", kind))
        assert is_away(kind("a cursor's end, raised by psycopg itself"))
    assert not is_away(raised("", psycopg.ProgrammingError))
    assert not is_away(ValueError("ours"))


def test_what_is_raised_over_a_lost_connection_is_looked_through() -> None:
    """A session that cannot be saved: Django takes it for one that was ended, and says 400."""
    from django.contrib.sessions.backends.base import UpdateError
    from django.contrib.sessions.exceptions import SessionInterrupted

    lost = raised("57P01")
    over = SessionInterrupted()
    over.__context__ = UpdateError()
    over.__context__.__context__ = lost
    assert is_away(over)
