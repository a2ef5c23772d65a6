"""A kind of work with no job above it, on a real table: what the mixin and the ladder give it."""

from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.apps import apps
from django.conf import settings
from django.db import Error as DatabaseError
from django.db import connections, models
from django.utils import timezone

from faults import OurFault, UserFault
from finetune.events.waits import StorageFull
from finetune.models.leased import Operation
from finetune.states import LeaseState
from finetune.work import leases, nudges
from finetune.work import perform as ladder
from finetune.work.kinds import Lease, OperationKind
from finetune.work.perform import perform
from finetune.work.pulse import Pulse
from finetune.work.signals import LeaseLost, Stopped, Wishes
from finetune.work.sweeping import due, sweep
from tenants.database.grants import apply_grants
from tenants.database.scope import tenant_scope
from tenants.models import TenantOwned
from tenants.vault.errors import KeyDestroyed, StorageDown
from tests.finetune.api.customers import Customer, new_customer

pytestmark = pytest.mark.usefixtures("committed", "table")


class Tally(TenantOwned, Operation):
    """What it counts is of no matter."""

    task = "tally"

    counted = models.IntegerField(default=0)

    class Meta:
        app_label = "finetune"


# It is no table of the product: what looks at all of those must not meet it.
del apps.all_models["finetune"]["tally"]
apps.clear_cache()

Act = Callable[[Lease, "Pulse[Wishes]"], None]


class Tallying(OperationKind):
    """Does what its test says."""

    model = Tally
    act: Act

    def run(self, lease: Lease, pulse: "Pulse[Wishes]") -> None:
        type(self).act(lease, pulse)


KIND = Tallying()


@pytest.fixture(scope="module")
def table(django_db_setup: None, django_db_blocker: Any) -> Iterator[None]:
    with django_db_blocker.unblock():
        with connections["owner"].schema_editor() as editor:
            editor.create_model(Tally)
        apply_grants()
        yield
        with connections["owner"].schema_editor() as editor:
            editor.delete_model(Tally)


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, ...]]:
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr(nudges, "_send", lambda *what: sent.append(what))
    monkeypatch.setattr(nudges, "depth", lambda queue: 0)
    return sent


@pytest.fixture
def customer(sent: Any) -> Customer:
    return new_customer()


def made(customer: Customer) -> Tally:
    with tenant_scope(customer.tenant_id):
        return Tally.objects.create()


def now(tally: Tally) -> Tally:
    with tenant_scope(tally.tenant_id):
        return Tally.objects.get(id=tally.id)


def change(tally: Tally, **columns: Any) -> None:
    with tenant_scope(tally.tenant_id):
        Tally.objects.filter(id=tally.id).update(**columns)


def claimed(tally: Tally) -> Lease:
    lease = leases.claim(KIND, tenant_id=tally.tenant_id, key=tally.id, worker="test")
    assert lease is not None
    return lease


def expire(tally: Tally) -> None:
    change(tally, lease_until=timezone.now() - timedelta(seconds=1))


def tried(tally: Tally, act: Act) -> Tally:
    Tallying.act = staticmethod(act)
    perform(KIND, tenant_id=tally.tenant_id, key=tally.id)
    return now(tally)


def raising(error: BaseException) -> Act:
    def act(*_: Any) -> None:
        raise error

    return act


def finish(lease: Lease, counted: int) -> None:
    with leases.fenced(lease):
        leases.finish(lease, counted=counted)


def test_it_is_done_and_its_progress_is_seen(customer: Customer) -> None:
    def count(lease: Lease, _: Any) -> None:
        leases.tell_progress(lease, done=3, total=4)
        finish(lease, counted=4)

    tally = tried(made(customer), count)
    assert (tally.state, tally.counted) == (LeaseState.SUCCEEDED, 4)
    assert (tally.done, tally.total, tally.epoch) == (3, 4, 1)
    assert tally.finished_at is not None


def test_a_killed_workers_row_is_taken_back_and_its_late_writes_change_nothing(
    customer: Customer, sent: list[tuple[str, ...]]
) -> None:
    tally = made(customer)
    stale = claimed(tally)
    assert due_of(tally) == []
    expire(tally)
    assert due_of(tally) == [True]
    sweep([KIND], [])
    assert now(tally).state == LeaseState.WAITING
    nudge = ("finetune.tasks.tally", str(tally.tenant_id), str(tally.id))
    assert nudge in sent, "tried again at once"

    fresh = claimed(tally)
    before = now(tally).epoch, now(tally).attempts
    for late in (
        lambda: leases.beat(stale),
        lambda: leases.wishes(stale),
        lambda: leases.tell_progress(stale, done=1, total=1),
        lambda: finish(stale, counted=99),
        lambda: leases.give_back(stale),
        lambda: leases.wait(stale, reason=StorageFull(), seconds=1),
        lambda: leases.retry(stale, fault=OurFault("x", "x")),
        lambda: leases.fail(stale, fault=OurFault("x", "x")),
    ):
        with pytest.raises(LeaseLost):
            late()
    assert (now(tally).epoch, now(tally).attempts) == before == (2, 2)
    finish(fresh, counted=1)
    with pytest.raises(LeaseLost):
        finish(stale, counted=99)
    assert (now(tally).state, now(tally).counted) == (LeaseState.SUCCEEDED, 1)


def test_what_is_ours_is_tried_again_with_a_back_off_and_then_fails_with_its_cause(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "HEARTBEAT_SECONDS", 3600)  # by which it counts; here at its most
    tally, waits = made(customer), []
    for _ in range(settings.RUN_ATTEMPTS):
        tally = tried(tally, raising(ZeroDivisionError()))
        waits.append(tally.not_before)
        change(tally, not_before=None)
    assert tally.state == LeaseState.FAILED
    assert tally.error["code"] == "internal_error"
    assert (tally.epoch, tally.attempts) == (settings.RUN_ATTEMPTS, settings.RUN_ATTEMPTS)
    assert waits[0] is None, "the first time at once"
    assert waits[1] > timezone.now()
    assert tried(tally, raising(AssertionError())).state == LeaseState.FAILED


def test_what_made_progress_has_its_attempts_back(customer: Customer) -> None:
    def progress(lease: Lease, _: Any) -> None:
        with leases.fenced(lease):
            leases.made_progress(lease)
        raise ZeroDivisionError

    tally = made(customer)
    for _ in range(settings.RUN_ATTEMPTS + 1):
        tally = tried(tally, progress)
        change(tally, not_before=None)
    assert tally.state == LeaseState.WAITING


def test_what_is_missing_outside_makes_it_wait_and_costs_no_attempt(customer: Customer) -> None:
    tally = tried(made(customer), raising(StorageDown("its address", "no answer")))
    assert (tally.state, tally.attempts) == (LeaseState.WAITING, 0)
    assert tally.wait_reason == "The storage does not answer."
    assert tally.not_before > timezone.now()
    assert due_of(tally) == []


@pytest.mark.parametrize("code", ["rows_bad", "key_destroyed"])
def test_what_trying_again_cannot_mend_fails_at_once(customer: Customer, code: str) -> None:
    error = {"rows_bad": UserFault("rows_bad", "No."), "key_destroyed": KeyDestroyed("x")}[code]
    tally = tried(made(customer), raising(error))
    assert (tally.state, tally.error["code"], tally.attempts) == (LeaseState.FAILED, code, 1)


def test_a_worker_that_shuts_down_gives_it_back(customer: Customer) -> None:
    tally = tried(made(customer), raising(Stopped()))
    assert (tally.state, tally.attempts, tally.not_before) == (LeaseState.WAITING, 0, None)


def test_a_worker_that_is_shutting_down_claims_nothing(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ladder.shutdown, "asked", True)
    assert tried(made(customer), raising(AssertionError())).epoch == 0


def test_a_database_that_fails_lets_the_lease_run_out(customer: Customer) -> None:
    tally = tried(made(customer), raising(DatabaseError("gone")))
    assert (tally.state, tally.epoch) == (LeaseState.LEASED, 1)
    expire(tally)
    leases.reap(KIND, tenant_id=tally.tenant_id, row_id=tally.id)
    assert now(tally).state == LeaseState.WAITING


def test_a_step_that_the_database_ended_for_anothers_sake_is_tried_again_soon(
    customer: Customer,
) -> None:
    """A deadlock: nothing is away, and the lease's time need not run out first."""
    deadlock = DatabaseError("deadlock detected")
    deadlock.__cause__ = psycopg.errors.DeadlockDetected()
    tally = tried(made(customer), raising(deadlock))
    assert (tally.state, tally.attempts) == (LeaseState.WAITING, 1)


def test_it_is_cancelled_at_once_while_it_waits(customer: Customer) -> None:
    tally = made(customer)
    cancel(tally)
    assert now(tally).state == LeaseState.CANCELLED
    assert tried(tally, raising(AssertionError())).epoch == 0


@pytest.mark.parametrize("end", ["stopped", "broken", "lost"])
def test_it_is_cancelled_while_it_is_done_whichever_way_that_ends(
    customer: Customer, end: str
) -> None:
    tally = made(customer)
    lease = claimed(tally)
    assert not leases.wishes(lease).cancel
    cancel(tally)
    assert leases.wishes(lease).cancel, "the heartbeat sees it"
    if end == "stopped":
        leases.give_back(lease)
    elif end == "broken":
        leases.retry(lease, fault=OurFault("x", "killed"))
    else:
        expire(tally)
        leases.reap(KIND, tenant_id=tally.tenant_id, row_id=tally.id)
    assert now(tally).state == LeaseState.CANCELLED


def test_cancelling_what_has_ended_changes_nothing(customer: Customer) -> None:
    tally = made(customer)
    finish(claimed(tally), counted=1)
    cancel(tally)
    assert (now(tally).state, now(tally).cancel_requested_at) == (LeaseState.SUCCEEDED, None)


def cancel(tally: Tally) -> None:
    with tenant_scope(tally.tenant_id):
        leases.cancel(KIND, key=tally.id)


def due_of(tally: Tally) -> list[bool]:
    return [each.expired for each in due(KIND) if each.row_id == tally.id]
