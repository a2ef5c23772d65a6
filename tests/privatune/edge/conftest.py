"""A real server with tight limits, and a look at what it spools."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import psutil
import pytest
from django.test import Client

from tenants.models import User
from tenants.roles import Role
from tenants.services.tenants import add_member
from tests.finetune.api.conftest import PATIENT, serving_http
from tests.finetune.api.customers import Customer

IDLE, LONG = 2, 600  # seconds in which a body may stand still
TENANT_SPOOL_MB = 40
PERSON_STREAMS, TENANT_STREAMS = 25, 30


@dataclass(frozen=True)
class Edge:
    url: str
    pid: int

    @property
    def address(self) -> tuple[str, int]:
        host, port = self.url.removeprefix("http://").split(":")
        return host, int(port)

    def spooled(self) -> int:
        """Bytes in files that have no name any more: what the server's processes have spooled."""
        process = psutil.Process(self.pid)
        return sum(_nameless(each.pid) for each in [process, *process.children(recursive=True)])


def _nameless(pid: int) -> int:
    folder, total = f"/proc/{pid}/fd", 0
    for name in set(os.listdir(folder)) - {"0", "1", "2"}:  # pytest's own capture
        try:
            link = os.readlink(f"{folder}/{name}")
            if link.startswith("/") and link.endswith(" (deleted)"):
                total += os.stat(f"{folder}/{name}").st_size
        except FileNotFoundError:  # closed since
            continue
    return total


@contextmanager
def _edge_of(idle: int) -> Iterator[Edge]:
    limits = {
        "PRIVATUNE_BODY_IDLE_SECONDS": str(idle),
        "PRIVATUNE_TENANT_SPOOL_MB": str(TENANT_SPOOL_MB),
        "PRIVATUNE_PERSON_STREAMS": str(PERSON_STREAMS),
        "PRIVATUNE_TENANT_STREAMS": str(TENANT_STREAMS),
        "PRIVATUNE_ASK_AGAIN_SECONDS": "0",
    }
    with serving_http(PATIENT, **limits) as (url, pid):
        yield Edge(url, pid)


@pytest.fixture(scope="package")
def _edge(django_db_setup: None) -> Iterator[Edge]:
    with _edge_of(LONG) as edge:
        yield edge


@pytest.fixture(scope="package")
def _hasty(django_db_setup: None) -> Iterator[Edge]:
    with _edge_of(IDLE) as edge:
        yield edge


@pytest.fixture
def edge(_edge: Edge, committed: None) -> Edge:
    return _edge


@pytest.fixture
def hasty(_hasty: Edge, committed: None) -> Edge:
    """It gives up a body that stands still for two seconds, which every sender's may."""
    return _hasty


def signed_in(customer: Customer, role: Role = Role.OWNER) -> str:
    """The session cookie of a new member."""
    user = User.objects.create_user(f"{uuid.uuid4().hex}@{customer.slug}.example", "x" * 16)
    add_member(tenant_id=customer.tenant_id, user=user, role=role, actor="test")
    client = Client()
    client.force_login(user, backend="allauth.account.auth_backends.AuthenticationBackend")
    return f"sessionid={client.cookies['sessionid'].value}"
