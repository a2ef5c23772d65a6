"""The lease: one winner, nothing written by whoever lost it, a bounded number of attempts."""

import threading
from datetime import timedelta
from pathlib import Path
from typing import Any, cast

import pytest
from django.conf import settings
from django.db import connection
from django.utils import timezone

from faults import OurFault
from finetune.events import JobQueued
from finetune.events.waits import StorageFull
from finetune.models import Event, Job, Run
from finetune.services import sweeping
from finetune.services.jobs import lifecycle
from finetune.services.jobs.steps import step
from finetune.services.runs.lease import RunLease
from finetune.services.runs.training import TRAIN
from finetune.states import JobState, RunState
from finetune.work import leases
from finetune.work.signals import LeaseLost
from tenants.database.scope import tenant_scope
from tenants.models import LicenseState
from tenants.services.licences import change_license
from tests.fixtures.jobs import Bench, new_bench


def queued(bench: Bench, **resolved: Any) -> Job:
    job = bench.create()
    with tenant_scope(bench.tenant.id):
        step(job, JobState.QUEUED, JobQueued(), resolved=resolved or {"trained_tokens": 10})
        Run.objects.create(job=job)
    return job


def claim(bench: Bench, job: Job) -> RunLease | None:
    lease = leases.claim(TRAIN, tenant_id=bench.tenant.id, key=job.id, worker="test")
    return cast(RunLease | None, lease)


def leased(bench: Bench, job: Job) -> RunLease:
    lease = claim(bench, job)
    assert lease is not None
    return lease


def row(lease: RunLease) -> Run:
    with tenant_scope(lease.tenant_id):
        return Run.objects.get(id=lease.run_id)


def expire(lease: RunLease) -> None:
    with tenant_scope(lease.tenant_id):
        Run.objects.filter(id=lease.run_id).update(
            lease_until=timezone.now() - timedelta(seconds=1)
        )


def reap(lease: RunLease) -> None:
    leases.reap(TRAIN, tenant_id=lease.tenant_id, row_id=lease.run_id)


def skip_back_off(lease: RunLease) -> None:
    with tenant_scope(lease.tenant_id):
        Run.objects.filter(id=lease.run_id).update(not_before=None)


def test_of_many_concurrent_claims_exactly_one_wins(committed: None, tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    job = queued(bench)
    start, won = threading.Barrier(8), []

    def race() -> None:
        start.wait()
        try:
            lease = claim(bench, job)
            if lease is not None:
                won.append(lease)
        finally:
            connection.close()

    threads = [threading.Thread(target=race) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [lease.epoch for lease in won] == [1]
    assert bench.job(job).state == JobState.RUNNING
    assert bench.messages(job).count("Fine-tuning job started.") == 1


def test_a_job_that_is_not_queued_or_not_due_cannot_be_claimed(bench: Bench) -> None:
    fresh = bench.create()
    assert claim(bench, fresh) is None
    job = queued(bench)
    with tenant_scope(bench.tenant.id):
        Run.objects.filter(job=job).update(not_before=timezone.now() + timedelta(minutes=1))
    assert claim(bench, job) is None


def test_a_worker_that_was_presumed_dead_changes_nothing(bench: Bench) -> None:
    job = queued(bench)
    stale = leased(bench, job)
    expire(stale)
    reap(stale)
    fresh = leased(bench, job)
    assert fresh.epoch == stale.epoch + 1
    before = bench.job(job).events_count
    fault = OurFault("x", "x")
    for write in (
        lambda: leases.beat(stale),
        lambda: leases.wishes(stale),
        lambda: leases.give_back(stale),
        lambda: leases.wait(stale, reason=StorageFull(), seconds=1),
        lambda: leases.fail(stale, fault=fault),
        lambda: leases.retry(stale, fault=fault, exit_code=1),
    ):
        with pytest.raises(LeaseLost):
            write()
    assert bench.job(job).state == JobState.RUNNING
    assert bench.job(job).events_count == before
    assert row(fresh).state == RunState.LEASED


def test_a_reaped_run_that_nobody_has_claimed_yet_is_lost_to_its_old_worker(bench: Bench) -> None:
    lease = leased(bench, queued(bench))
    expire(lease)
    reap(lease)
    with pytest.raises(LeaseLost):  # the epoch is still the same, the lease is not
        leases.beat(lease)


def test_a_heartbeat_keeps_the_reaper_away(bench: Bench) -> None:
    lease = leased(bench, queued(bench))
    expire(lease)
    leases.beat(lease)
    reap(lease)
    assert row(lease).state == RunState.LEASED
    assert row(lease).lease_until > timezone.now()


def test_a_run_that_makes_no_progress_fails_after_a_bounded_number_of_attempts(
    bench: Bench,
) -> None:
    job = queued(bench)
    for attempt in range(settings.RUN_ATTEMPTS):
        lease = leased(bench, job)
        assert lease.epoch == attempt + 1
        expire(lease)
        reap(lease)
        skip_back_off(lease)
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    most = settings.RUN_ATTEMPTS
    assert (ended.error["code"], ended.error["attempts"]) == ("worker_lost", most)
    assert ended.error["message"] == (
        f"The worker that ran the job was lost. Given up; attempts without progress: {most}."
    )
    assert "Nothing to do" not in ended.error["fix"], "nobody tries it again"
    retried, failed = (bench.events(job, code) for code in ("job_retried", "job_failed"))
    assert [event.data["attempts"] for event in retried] == list(range(1, most))
    assert [event.data["attempts"] for event in failed] == [most]
    assert row(lease).state == RunState.FAILED
    assert claim(bench, job) is None


def test_progress_gives_the_run_its_attempts_back(bench: Bench) -> None:
    job = queued(bench)
    for _ in range(settings.RUN_ATTEMPTS + 2):
        lease = leased(bench, job)
        with leases.fenced(lease):
            leases.made_progress(lease)
        expire(lease)
        reap(lease)
        skip_back_off(lease)
    assert bench.job(job).state == JobState.QUEUED


def test_the_second_failure_in_a_row_backs_off(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(settings, "HEARTBEAT_SECONDS", 3600)  # by which it counts; here at its most
    job = queued(bench)
    for _ in range(2):
        lease = leased(bench, job)
        expire(lease)
        reap(lease)
    assert row(lease).not_before > timezone.now()


def test_a_lost_nudge_is_sent_again_by_the_sweeper(
    committed: None, tiny_base: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bench = new_bench(tiny_base)
    validating, waiting = bench.create(), queued(bench)
    lost = leased(bench, queued(bench))
    expire(lost)
    sent: list[tuple[str, ...]] = []
    monkeypatch.setattr("finetune.work.nudges._send", lambda *what: sent.append(what))
    monkeypatch.setattr("finetune.work.nudges.depth", lambda queue: 0)
    sweeping.sweep()
    tenant = str(bench.tenant.id)
    assert ("finetune.tasks.validate_job", tenant, str(validating.id)) in sent
    assert ("finetune.tasks.run_job", tenant, str(waiting.id)) in sent
    assert ("finetune.tasks.run_job", tenant, str(lost.job_id)) in sent
    assert row(lost).state == RunState.WAITING


def test_the_sweeper_adds_nothing_to_a_queue_that_is_long_enough(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    queued(bench)
    sent: list[Any] = []
    monkeypatch.setattr("finetune.work.nudges.nudge", lambda *what: sent.append(what))
    monkeypatch.setattr("finetune.work.nudges.depth", lambda queue: 10_000)
    sweeping.sweep()
    assert [each for each in sent if each[1] == bench.tenant.id] == []  # others left theirs


@pytest.mark.parametrize("how", ["asked to stop", "worker shuts down", "worker is lost"])
def test_a_running_job_is_cancelled_whichever_way_its_training_ends(bench: Bench, how: str) -> None:
    job = queued(bench)
    lease = leased(bench, job)
    with tenant_scope(bench.tenant.id):
        assert lifecycle.cancel_job(job_id=job.id, actor="t").state == JobState.RUNNING
    assert leases.wishes(lease).cancel
    if how == "asked to stop":
        leases.retry(lease, fault=OurFault("x", "killed"), exit_code=-9)
    elif how == "worker shuts down":
        leases.give_back(lease, exit_code=75)
    else:
        expire(lease)
        reap(lease)
    assert bench.job(job).state == JobState.CANCELLED
    assert row(lease).state == RunState.CANCELLED


def test_a_pause_ends_the_run_and_a_resume_starts_the_next(bench: Bench) -> None:
    job = queued(bench)
    lease = leased(bench, job)
    with tenant_scope(bench.tenant.id):
        lifecycle.pause_job(job_id=job.id, actor="t")
    assert leases.wishes(lease).pause
    leases.give_back(lease, exit_code=75)
    assert bench.job(job).state == JobState.PAUSED
    with tenant_scope(bench.tenant.id):
        lifecycle.resume_job(job_id=job.id, actor="t")
    again = leased(bench, job)
    assert again.run_id != lease.run_id
    assert not leases.wishes(again).pause


def test_a_pause_request_can_be_taken_back(bench: Bench) -> None:
    job = queued(bench)
    lease = leased(bench, job)
    with tenant_scope(bench.tenant.id):
        lifecycle.pause_job(job_id=job.id, actor="t")
        lifecycle.resume_job(job_id=job.id, actor="t")
    leases.give_back(lease, exit_code=75)
    assert bench.job(job).state == JobState.QUEUED


def test_a_worker_that_shuts_down_gives_the_run_back_and_no_attempt_is_counted(
    bench: Bench,
) -> None:
    job = queued(bench)
    for _ in range(settings.RUN_ATTEMPTS + 1):
        lease = leased(bench, job)
        leases.give_back(lease, exit_code=75)
        assert row(lease).attempts == 0
    assert bench.job(job).state == JobState.QUEUED


def test_what_is_missing_outside_makes_the_run_wait_and_the_job_says_so_once(bench: Bench) -> None:
    job = queued(bench)
    lease = leased(bench, job)
    leases.wait(lease, reason=StorageFull(), seconds=7200)
    assert row(lease).attempts == 0
    assert row(lease).not_before > timezone.now() + timedelta(hours=1)
    assert row(lease).wait_reason == "The storage is full."
    for _ in range(3):
        leases.postpone(
            TRAIN, tenant_id=bench.tenant.id, key=job.id, reason=StorageFull(), seconds=7200
        )
    (told,) = bench.events(job, "job_waits")
    assert told.message == "Waiting: The storage is full."
    assert (told.data["waits_for"], told.data["about"]) == ("storage_full", {})


def test_a_licence_revoked_between_submit_and_claim_fails_the_job_with_the_reason(
    bench: Bench,
) -> None:
    job = queued(bench)
    change_license(
        tenant_id=bench.tenant.id,
        license_id=bench.license.id,
        actor="t",
        state=LicenseState.REVOKED,
    )
    assert claim(bench, job) is None
    ended = bench.job(job)
    assert ended.state == JobState.FAILED
    assert ended.error["code"] == "license_required"
    assert "is revoked" in ended.error["message"]


def test_jobs_that_came_before_count_against_the_budget(bench: Bench) -> None:
    change_license(
        tenant_id=bench.tenant.id, license_id=bench.license.id, actor="t", token_budget=100
    )
    first, second = queued(bench, trained_tokens=60), queued(bench, trained_tokens=60)
    assert claim(bench, first) is not None
    assert claim(bench, second) is None  # both together do not fit
    assert bench.job(second).error["code"] == "license_required"


def test_events_are_numbered_without_gaps(bench: Bench) -> None:
    job = queued(bench)
    leases.give_back(leased(bench, job))
    with tenant_scope(bench.tenant.id):
        seqs = list(Event.objects.filter(job=job).order_by("seq").values_list("seq", flat=True))
    assert seqs == list(range(1, len(seqs) + 1))
    assert bench.job(job).events_count == len(seqs)
