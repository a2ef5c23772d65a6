"""Two tenants' traffic over few connections, with everything that goes wrong on the way: what each
answer may hold is looked at in the answer, and what a connection kept after every request."""

import random
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import psycopg
from django.db import DataError, InterfaceError, InternalError, OperationalError, connection

from tenants.database.scope import SETTING, tenant_scope
from tenants.models import StoredFile
from tests.finetune.api.customers import new_customer

APPLICATION = "crossings"  # as the database sees our connections, for the one who ends them
FILES = 3


@dataclass(frozen=True)
class Party:
    """A tenant whose every file begins with its mark."""

    tenant_id: UUID
    mark: str
    key: str
    file: str

    def owns(self, names: list[str]) -> bool:
        return len(names) >= FILES and all(name.startswith(self.mark) for name in names)


@dataclass
class Tally:
    """What happened, counted by name; `crossings` must stay empty."""

    done: Counter[str] = field(default_factory=Counter)
    crossings: list[str] = field(default_factory=list)
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def count(self, what: str) -> None:
        with self._lock:
            self.done[what] += 1

    def require(self, fine: bool, told: str) -> None:
        if not fine:
            with self._lock:
                self.crossings.append(told)


class Mishap(RuntimeError):
    """Raised by us in the middle of a scope."""


def new_party() -> Party:
    customer = new_customer()
    with tenant_scope(customer.tenant_id):
        files = [_new_file(f"{customer.slug}-{number}") for number in range(FILES)]
    return Party(customer.tenant_id, customer.slug, customer.key, files[0].public_id)


def _new_file(name: str) -> StoredFile:
    return StoredFile.objects.create(
        filename=name, purpose="user_data", bytes=1, sha256="0" * 64, object_name="none"
    )


def read(party: Party, tally: Tally) -> None:
    """By the ORM, whose manager filters, in a walk by cursor, and by SQL, which only RLS stops."""
    tally.require(party.owns(list(StoredFile.objects.values_list("filename", flat=True))), "ORM")
    tally.require(party.owns([file.filename for file in StoredFile.objects.iterator()]), "walk")
    with connection.cursor() as cursor:
        cursor.execute("SELECT filename FROM tenants_storedfile")
        tally.require(party.owns([name for (name,) in cursor.fetchall()]), "SQL")


def write(party: Party, tally: Tally) -> None:
    """Takes back what it wrote by SQL: the ORM would ask each table that may name a file first."""
    file = _new_file(f"{party.mark}-written")
    read(party, tally)
    with connection.cursor() as cursor:
        cursor.execute("DELETE FROM tenants_storedfile WHERE id = %s", [file.id])
        tally.require(cursor.rowcount == 1, "DELETE")


def raise_in_between(party: Party, tally: Tally) -> None:
    write(party, tally)
    raise Mishap


def fail_in_the_database(party: Party, tally: Tally) -> None:
    read(party, tally)
    with connection.cursor() as cursor:
        cursor.execute("SELECT 1 / 0")


def vanish(party: Party, tally: Tally) -> None:
    read(party, tally)
    connection.connection.close()


STEPS: dict[Callable[[Party, Tally], None], int] = {
    read: 70, write: 15, raise_in_between: 7, fail_in_the_database: 5, vanish: 3,
}  # fmt: skip


def look(tally: Tally) -> None:
    """Outside any scope a connection knows no tenant and sees no row."""
    with connection.cursor() as cursor:
        cursor.execute(
            "SELECT current_setting(%s, true), (SELECT count(*) FROM tenants_storedfile)", [SETTING]
        )
        setting, rows = cursor.fetchone()
    tally.require(not setting and rows == 0, f"left behind: {setting!r}, {rows} rows seen")


def _request(party: Party, step: Callable[[Party, Tally], None], tally: Tally) -> None:
    """One request's use of the database: the pool's connection, a scope, the work, given back."""
    for scoped in (True, False):
        try:
            if scoped:
                with tenant_scope(party.tenant_id):
                    step(party, tally)
            else:
                look(tally)
            tally.count(step.__name__ if scoped else "look")
        except (Mishap, DataError):
            tally.count(step.__name__)
        except (OperationalError, InterfaceError, InternalError, psycopg.Error):
            # Ended under it, in the database or by itself. Internal: PgBouncer adds an error of its
            # own to the server's last, and psycopg expects one. psycopg's own: a cursor's end.
            tally.count("vanish" if scoped and step is vanish else "lost")
        finally:
            connection.close()


def drive(parties: list[Party], tally: Tally, *, requests: int, threads: int = 8) -> None:
    """Interleaved requests of the parties from several threads; their order is drawn by a seed."""

    def work(seed: int) -> None:
        draw = random.Random(seed)
        for _ in range(requests // threads):
            (step,) = draw.choices(list(STEPS), list(STEPS.values()))
            _request(draw.choice(parties), step, tally)

    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(work, range(threads)))


@contextmanager
def connections_ending(server: Any, tally: Tally, every: int = 40) -> Iterator[None]:
    """Ends one of our connections in the database again and again, whatever it is doing: after so
    many requests, and not by the clock, or a slow machine would get nothing done in between."""
    over = threading.Event()

    def end() -> None:
        admin: psycopg.Connection[Any]
        with server.superuser() as admin:
            before = 0
            while not over.wait(0.005):
                if tally.done.total() < before + every:
                    continue
                before = tally.done.total()
                ended = admin.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE application_name = %s ORDER BY random() LIMIT 1",
                    [APPLICATION],
                ).fetchone()
                if ended:
                    tally.count("ended")

    thread = threading.Thread(target=end)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()
