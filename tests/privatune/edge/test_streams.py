"""A viewer's open streams take nothing from others, and end with the right to look."""

import itertools
import uuid
from contextlib import ExitStack

import httpx
import pytest

from finetune.models import CatalogModel, Job
from tenants.database.scope import tenant_scope
from tenants.models import License, Membership, User
from tenants.roles import Role
from tenants.services.files import create_file, keep
from tenants.services.licences import issue_license
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer
from tests.fixtures.waiting import until
from tests.privatune.edge.conftest import PERSON_STREAMS, TENANT_STREAMS, Edge, signed_in


@pytest.fixture
def paused(edge: Edge) -> tuple[Customer, str]:
    """A tenant with a paused job, and the address of the job's stream."""
    name = f"shelf-{uuid.uuid4().hex[:8]}"
    base = CatalogModel.objects.create(
        name=name, digest=f"sha256:{uuid.uuid4().hex}", path="none", architecture="Llama",
        parameters=1, context_length=64, bytes=1, task="dialogue",
        licence="Apache-2.0", source="test",
    )  # fmt: skip
    customer = new_customer(edge.url)
    issue_license(tenant_id=customer.tenant_id, model=name, actor="test")
    with tenant_scope(customer.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"x"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        job = Job.objects.create(
            base=base, license=License.objects.get(), training_file=file, state="paused"
        )
    return customer, f"{edge.url}/t/{customer.slug}/jobs/{job.id}/stream"


def test_many_streams_of_one_person_leave_the_service_to_others(
    edge: Edge, paused: tuple[Customer, str]
) -> None:
    """More streams than the pool has connections, on a job that does not move."""
    assert PERSON_STREAMS > 20, "or the pool would not be used up"
    customer, stream = paused
    cookie = {"cookie": signed_in(customer, Role.VIEWER)}
    other = new_customer(edge.url)
    with ExitStack() as held:
        http = held.enter_context(httpx.Client(limits=httpx.Limits(max_connections=99)))
        reading = []
        for _ in range(PERSON_STREAMS):
            opened = held.enter_context(http.stream("GET", stream, headers=cookie))
            assert opened.status_code == 200
            reading.append(opened.iter_raw())
            next(reading[-1])  # it has looked
        with http.stream("GET", stream, headers=cookie) as beyond:
            assert beyond.status_code == 429
            assert int(beyond.headers["retry-after"]) >= 1
        for _ in range(30):
            assert http.get(f"{edge.url}/healthz").status_code == 200
            with other.http() as theirs:
                assert theirs.get("/v1/files").status_code == 200
    until(lambda: status_of(stream, cookie) != 429, "closed streams are still counted", pause=0.1)
    assert status_of(stream, cookie) == 200


def status_of(url: str, cookie: dict[str, str]) -> int:
    with httpx.stream("GET", url, headers=cookie) as response:
        return response.status_code


def test_a_tenants_streams_are_counted_over_its_people(
    edge: Edge, paused: tuple[Customer, str]
) -> None:
    customer, stream = paused
    people = [signed_in(customer, Role.VIEWER) for _ in range(2)]
    with ExitStack() as held:
        http = held.enter_context(httpx.Client(limits=httpx.Limits(max_connections=99)))
        statuses = [
            held.enter_context(
                http.stream("GET", stream, headers={"cookie": people[n % 2]})
            ).status_code
            for n in range(TENANT_STREAMS + 1)
        ]
    assert statuses == [200] * TENANT_STREAMS + [429]


@pytest.mark.parametrize("loss", ["removed", "signed out", "deactivated"])
def test_an_open_stream_ends_when_its_person_may_not_look_any_more(
    edge: Edge, paused: tuple[Customer, str], loss: str
) -> None:
    from django.contrib.sessions.models import Session

    customer, stream = paused
    cookie = signed_in(customer, Role.VIEWER)
    with httpx.stream("GET", stream, headers={"cookie": cookie}) as opened:
        pieces = opened.iter_raw()
        next(pieces)
        with tenant_scope(customer.tenant_id):
            member = Membership.objects.get()
            if loss == "removed":
                member.delete()
        if loss == "signed out":
            Session.objects.filter(session_key=cookie.removeprefix("sessionid=")).delete()
        if loss == "deactivated":
            User.objects.filter(id=member.user_id).update(is_active=False)
        # it looks once a second; one that goes on is silent, or says more than this
        assert len(list(itertools.islice(pieces, 10))) < 10, "it goes on"
