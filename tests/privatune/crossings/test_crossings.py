"""No request sees what another tenant's left on a shared connection, whatever happens to it.

10,000 requests of two tenants over two connections: 9,400 are the database's part of a request
(the pool's connection, `tenant_scope`, reads and writes, given back) from eight threads, and 600
are asked of the web server's ASGI application, twelve at a time. Meanwhile connections are ended
by `pg_terminate_backend`, by the client's side and by exceptions, and clients leave.
"""

import asyncio
from collections.abc import Iterator
from typing import Any

import pytest
from django.db import connection

from tests.privatune.crossings.pools import pgbouncer, pooled
from tests.privatune.crossings.traffic import (
    STEPS,
    Party,
    Tally,
    connections_ending,
    drive,
    new_party,
)
from tests.privatune.crossings.web import ASKED, ask_much

WEB_LOSSES = 0.3  # of all web requests: more than that, and too little would have been looked at


@pytest.fixture
def parties(committed: None) -> list[Party]:
    return [new_party(), new_party()]


@pytest.fixture(autouse=True)
def _many_requests(settings: Any) -> None:
    """The limits on callers are another test's."""
    settings.ROOT_URLCONF = "tests.privatune.crossings.urls"
    for name in ("ADDRESS", "KEY", "TENANT"):
        setattr(settings, f"{name}_REQUESTS_PER_MINUTE", 1_000_000)


@pytest.fixture(params=[pytest.param(False, id="pool"), pytest.param(True, id="pgbouncer")])
def shared(request: Any, embedded_postgres: Any, parties: list[Party]) -> Iterator[bool]:
    """Two connections to the server: of our own pool, or of PgBouncer's behind eight clients."""
    if not request.param:
        with pooled(2):
            yield False
        return
    with pgbouncer(embedded_postgres, size=2) as address, pooled(8, **address):
        yield True


def test_ten_thousand_requests_cross_nowhere(
    shared: bool, parties: list[Party], embedded_postgres: Any
) -> None:
    tally, (threaded, web) = Tally(), (800, 200) if shared else (9400, 600)
    with connections_ending(embedded_postgres, tally):
        drive(parties, tally, requests=threaded)
        asyncio.run(ask_much(parties, tally, web))
    assert tally.crossings == []
    done = tally.done
    asked = sum(done[step.__name__] for step in STEPS) + done["look"] + done["lost"]
    assert asked == 2 * threaded, done  # each with a look at the connection after it
    for what in [*(step.__name__ for step in STEPS), "ended", "lost"]:
        assert done[what], done
    for what in ASKED:
        assert done[f"web {what}"] or what == "leaves", done
    assert done["web left"], done
    assert done["web lost"] < WEB_LOSSES * web, done
    drive(parties, calm := Tally(), requests=80)  # and it goes on as if nothing had been
    asyncio.run(ask_much(parties, calm, 80))
    assert calm.crossings == []
    assert calm.done["lost"] == calm.done["web lost"] == 0, calm.done


class _Lasting:
    """`tenant_scope`'s connection, on which the setting outlives the transaction."""

    def __getattr__(self, name: str) -> Any:
        return getattr(connection, name)

    def cursor(self) -> Any:
        cursor = connection.cursor()
        execute = cursor.execute
        cursor.execute = lambda statement, *values: execute(
            statement.replace("%s, true)", "%s, false)"), *values
        )
        return cursor


def test_a_setting_that_lasts_would_be_seen(
    shared: bool, parties: list[Party], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control: one word changed in `tenant_scope`, and both ways of asking find it."""
    monkeypatch.setattr("tenants.database.scope.connection", _Lasting())
    drive(parties, threads := Tally(), requests=160)
    asyncio.run(ask_much(parties, web := Tally(), 160))
    assert any("left behind" in told for told in threads.crossings), threads
    assert any("left behind" in told for told in web.crossings), web
