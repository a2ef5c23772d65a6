"""Support access at the database's own door: what an owner's consent opens, and only as long."""

from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import psycopg
import pytest
from django.test import Client
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from finetune.models import Event, Job
from tenants.access import Principal
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import Invalid, Refused
from tenants.models import AuditEntry, SupportConsent
from tenants.roles import ROLE_SCOPES, Role
from tenants.services.support import grant_support, revoke_support, standing_consent
from tenants.services.tenants import add_member
from tests.fixtures.database import connect_as
from tests.fixtures.jobs import Bench, new_bench
from tests.fixtures.people import browser_of, new_person, operator_browser


@pytest.fixture
def bench(committed: None, tiny_base: Any) -> Bench:
    return new_bench(tiny_base)


@pytest.fixture
def job(bench: Bench) -> Job:
    made = bench.create(suffix="canary-suffix")
    with tenant_scope(bench.tenant.id):
        Event.objects.create(job=made, seq=901, message="seen by support")
    return made


@pytest.fixture
def role(committed: None) -> Iterator["psycopg.Connection[Any]"]:
    with connect_as("operator") as opened:
        yield opened


def seen(role: "psycopg.Connection[Any]", bench: Bench) -> tuple[int, int]:
    """Jobs and events of the tenant, with its setting forged, as the role may."""
    role.execute("SELECT set_config('privatune.tenant', %s, false)", [str(bench.tenant.id)])
    return tuple(
        role.execute(f"SELECT count(*) FROM {table} WHERE tenant_id = %s", [bench.tenant.id])
        .fetchone()[0] > 0  # type: ignore[index]
        for table in ("finetune_job", "finetune_event")
    )  # type: ignore[return-value]  # fmt: skip


def somebody(bench: Bench, who: Role = Role.OWNER) -> Principal:
    return Principal(bench.tenant.id, Actor.system("test"), frozenset(ROLE_SCOPES[who]), who)


def test_the_database_opens_jobs_by_consent_and_closes_them_when_it_ends(
    role: "psycopg.Connection[Any]", bench: Bench, job: Job, tiny_base: Any
) -> None:
    other = new_bench(tiny_base)
    other.create()
    assert seen(role, bench) == (False, False)
    with tenant_scope(bench.tenant.id):
        grant_support(by=somebody(bench), hours=1, reason="a failed run")
        assert standing_consent() is not None
    assert seen(role, bench) == (True, True)
    assert seen(role, other) == (False, False)
    for column in ("suffix", "requested", "metadata", "resolved"):
        with pytest.raises(InsufficientPrivilege):
            role.execute(f"SELECT {column} FROM finetune_job")
    with pytest.raises(InsufficientPrivilege):
        role.execute("SELECT data FROM finetune_event")
    with tenant_scope(bench.tenant.id):
        revoke_support(by=somebody(bench))
    assert seen(role, bench) == (False, False)
    with tenant_scope(bench.tenant.id):
        grant_support(by=somebody(bench), hours=1, reason="again")
        past = timezone.now() - timedelta(seconds=1)
        SupportConsent.objects.filter(revoked_at=None).update(until=past)
    assert seen(role, bench) == (False, False)
    with tenant_scope(bench.tenant.id):
        actions = list(AuditEntry.objects.order_by("seq").values_list("action", flat=True))
    assert [a for a in actions if a.startswith("support.")] == [
        "support.grant", "support.revoke", "support.grant",
    ]  # fmt: skip


@pytest.mark.parametrize("who", [Role.ADMIN, Role.ENGINEER, Role.VIEWER])
def test_only_an_owner_opens_it(bench: Bench, who: Role) -> None:
    with tenant_scope(bench.tenant.id), pytest.raises(Refused):
        grant_support(by=somebody(bench, who), hours=1, reason="r")
    with tenant_scope(bench.tenant.id), pytest.raises(Invalid):
        grant_support(by=somebody(bench), hours=9999, reason="r")


def test_the_operators_page_shows_it_and_the_tenants_log_says_who_looked_once(
    bench: Bench, job: Job, one_hour: None
) -> None:
    operator = operator_browser()
    page = f"/operator/finetune/job/{job.id}/change/"
    assert operator.get(page).status_code == 302, "as an id that nobody has"
    owner = new_person()
    add_member(tenant_id=bench.tenant.id, user=owner, role=Role.OWNER, actor="test")
    browser: Client = browser_of(owner)
    form = {"do": "support", "hours": "2", "reason": "look at the last run"}
    settings = f"/t/{bench.tenant.slug}/settings"
    assert browser.post(settings, form).status_code == 302
    for _ in range(3):
        answer = operator.get(page)
        assert b"seen by support" in answer.content
        assert b"canary-suffix" not in answer.content
    assert operator.get(f"/operator/tenants/license/?q={bench.license.model}").status_code == 200
    assert operator.get(f"/operator/tenants/license/{bench.license.id}/change/").status_code == 200
    with tenant_scope(bench.tenant.id):
        reads = AuditEntry.objects.filter(action="operator.read").values("target", "kind", "actor")
        noted = [(each["target"], each["kind"]) for each in reads]
        assert sorted(noted) == [("job", "operator"), ("license", "operator")]
        assert all(each["actor"].startswith("operator:") for each in reads)
    assert browser.post(settings, {"do": "end-support"}).status_code == 302
    assert operator.get(page).status_code == 302


def test_two_operators_leave_two_entries(bench: Bench, one_hour: None) -> None:
    from tenants.services.staff_reads import note_read

    for name in ("a", "b", "a"):
        note_read(tenant_id=bench.tenant.id, actor=Actor.operator(name), page="run")
    with tenant_scope(bench.tenant.id):
        assert AuditEntry.objects.filter(action="operator.read").count() == 2
