"""Beat and a clock that is set back by a day: while it runs, and before it starts again."""

import errno
from collections.abc import Callable
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from celery import Celery, _state
from celery.beat import PersistentScheduler

from privatune.beat import SteadyScheduler
from privatune.celery_app import app as ours

EVERY_SECONDS = 15.0


class Clock:
    """What Celery takes for now."""

    def __init__(self) -> None:
        self.now = datetime.now().astimezone()

    def pass_by(self, seconds: float) -> None:
        self.now += timedelta(seconds=seconds)


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def start(
    clock: Clock, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Callable[[type[PersistentScheduler]], Any]:
    """A scheduler of one task in a file; what it sends is counted and not sent."""
    app = Celery("test", set_as_current=False)
    monkeypatch.setattr(_state._tls, "current_app", app)  # what comes from the file asks for it
    app.conf.beat_schedule = {"sweep": {"task": "sweep", "schedule": EVERY_SECONDS}}
    app.now = lambda: clock.now

    def starting(kind: type[PersistentScheduler]) -> Any:
        scheduler: Any = kind(app=app, schedule_filename=str(tmp_path / "beat"))
        scheduler.sent = 0

        def count(*_: Any, **__: Any) -> None:
            scheduler.sent += 1

        scheduler.apply_entry, scheduler.producer = count, None
        return scheduler

    return starting


def go_on(scheduler: Any, clock: Clock, seconds: int = 60) -> int:
    """How often it sends in so many seconds."""
    before = scheduler.sent
    for _ in range(seconds):
        while scheduler.tick() == 0:
            pass
        clock.pass_by(1)
    return int(scheduler.sent - before)


@pytest.mark.parametrize(("kind", "sends"), [(SteadyScheduler, True), (PersistentScheduler, False)])
def test_a_clock_that_is_set_back_stops_nothing(
    start: Callable[[type[PersistentScheduler]], Any],
    clock: Clock,
    kind: type[PersistentScheduler],
    sends: bool,
) -> None:
    """Celery's own is the control: it sends nothing for a day."""
    running = start(kind)
    assert go_on(running, clock) >= 3
    clock.pass_by(-24 * 3600)
    assert (go_on(running, clock) >= 3) is sends
    running.close()
    clock.pass_by(-24 * 3600)
    again = start(kind)
    assert (go_on(again, clock) >= 3) is sends
    again.close()


def test_a_full_disk_is_a_line_a_beat_and_goes_by(
    start: Callable[[type[PersistentScheduler]], Any],
    clock: Clock,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    running = start(SteadyScheduler)
    del running.apply_entry  # the fixture's, which only counts

    def send(*_: Any, **__: Any) -> None:
        if full:
            raise OSError(errno.ENOSPC, "No space left on device")
        running.sent += 1

    monkeypatch.setattr(running, "send_task", send)
    monkeypatch.setattr(running._store, "sync", lambda: send())
    full = True
    assert go_on(running, clock) == 0
    running.sync()
    said = [(record.getMessage(), record.exc_info) for record in caplog.records]
    assert ("sweep is not sent: the disk of the queue is full", None) in said
    assert ("beat's schedule is not written: the disk is full", None) in said
    assert not [record for record in caplog.records if record.exc_info]
    full = False
    monkeypatch.delattr(running._store, "sync")
    assert go_on(running, clock) >= 3
    running.close()


def test_our_workers_use_it() -> None:
    assert ours.conf.beat_scheduler == "privatune.beat:SteadyScheduler"
