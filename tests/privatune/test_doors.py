"""Every door through which bytes leave or a model runs, derived from the source and from the
addresses, against tables that say which right each asks. A second door fails here until it does."""

import re
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from django.http import HttpRequest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from finetune.models import Artifact, CatalogModel, Job
from finetune.services import artifacts
from privatune.portal.access import enter, still_allowed
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import License, LicenseState, Membership, User
from tenants.roles import Role, Scope
from tenants.services.files import create_file, keep
from tenants.services.licences import Right, change_license
from tenants.services.tenants import add_member
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_result
from tests.privatune.graph import reaching, read_graph, users_of

GRAPH = read_graph()

OWN = "the tenant's own words and figures: no licence is asked"
WRITES = "puts into the vault or deletes, gives nothing out"
WORKER = "under a lease, whose claim asks to train"

# Who opens a vault, and for what.
VAULTS: dict[str, Right | str] = {
    "finetune.api.wire.files.Files": WRITES,
    "finetune.api.wire.uploads.Complete": WRITES,
    "finetune.api.wire.uploads.Parts": WRITES,
    "finetune.services.artifacts.delete_model": WRITES,
    "finetune.services.artifacts.load_adapter": Right.SERVE,
    "finetune.services.artifacts.open_bundle": Right.EXPORT,
    "finetune.services.attempt._work": WORKER,
    "finetune.services.checking._check": OWN,
    "finetune.services.datasets.open_errors": OWN,
    "finetune.services.intake._drop_readings": WRITES,
    "finetune.services.validation._overlap": OWN,
    "privatune.portal.rooms.files.upload": WRITES,
    "tenants.services.files.delete_file": WRITES,
    "tenants.services.files.open_file": OWN,
    "tenants.services.idempotency._answer_of": OWN,  # what the same caller was answered before
    "tenants.services.idempotency._sealed": WRITES,
    "tenants.services.sign_in._forget": WRITES,
    "tenants.services.sign_in.provider": OWN,  # the secret of its sign-in, for the sign-in alone
    "tenants.services.sign_in.set_provider": WRITES,
    "tenants.services.uploads._drop_parts": WRITES,
}
# Who knows where weights lie.
WEIGHTS: dict[str, Right | str] = {
    "finetune.services.artifacts.delete_model": WRITES,
    "finetune.services.artifacts.load_adapter": Right.SERVE,
    "finetune.services.artifacts.open_bundle": Right.EXPORT,
    "finetune.services.history.History": WORKER,
    "finetune.services.publishing._commit": WORKER,
    "finetune.services.publishing._drop_unless_published": WORKER,
    "finetune.services.publishing._tidy": WORKER,
    "finetune.services.publishing.publish": WORKER,
}
# Who speaks to the serving process.
MODELS: dict[str, Right | str] = {
    "finetune.services.eviction.evict": "forgets",
    "finetune.services.eviction.reconcile": "looks and forgets",
    "finetune.services.gateway._permitted_or_evicted": "asks, and forgets",
    "finetune.services.gateway._provide": "puts in what load_adapter gave",
    "finetune.services.gateway.check_cost": "counts tokens and runs nothing",
    "finetune.services.gateway.generate": Right.SERVE,
}
# Addresses whose answer is a stream, which is how bytes and answers leave.
STREAMS: dict[str, Right | str] = {
    "v1/files/<str:file_id>/content": OWN,
    "v1/chat/completions": Right.SERVE,
    "v1/completions": Right.SERVE,
    "api/v1/artifacts/<str:artifact_id>/content": Right.EXPORT,
    "api/v1/datasets/<str:dataset_id>/errors": OWN,
    "api/v1/audit/export": OWN,
    "t/<slug:slug>/files/<uuid:file_id>/problems/<uuid:dataset_id>": OWN,
    "t/<slug:slug>/jobs/<uuid:job_id>/stream": OWN,
    "t/<slug:slug>/models/<uuid:artifact_id>/download": Right.EXPORT,
    "t/<slug:slug>/models/<uuid:artifact_id>/chat": Right.SERVE,
}


def test_nobody_opens_a_vault_but_by_the_table() -> None:
    opened = users_of(
        GRAPH,
        "tenants.services.vaults.open_vault",
        "tenants.services.vaults.vault_for",
        "finetune.services.intake.vault_of",
    )
    assert opened - {"finetune.services.intake.vault_of"} == set(VAULTS)


def test_nobody_knows_where_weights_lie_but_by_the_table() -> None:
    names = "artifact_prefix", "checkpoint_prefix", "run_prefix"
    known = users_of(
        GRAPH,
        "?.bundle_object",
        "?.adapter_object",
        *(f"finetune.storage.{name}" for name in names),
    )
    assert known - {"finetune.storage.checkpoint_prefix"} == set(WEIGHTS)


def test_nobody_speaks_to_the_serving_process_but_by_the_table() -> None:
    assert users_of(GRAPH, "finetune.serving.client.ServingClient") == set(MODELS)


def test_each_door_with_a_right_asks_for_it_itself() -> None:
    asked = "tenants.services.licences.require_license"
    for name, right in (VAULTS | WEIGHTS).items():
        if isinstance(right, Right):
            assert {asked, f"tenants.services.licences.Right.{right.name}"} <= GRAPH[name], name
    assert "finetune.services.gateway._permitted" in GRAPH["finetune.services.gateway.generate"]
    assert "finetune.services.gateway.resolve" in GRAPH["finetune.services.gateway._permitted"]
    assert asked in GRAPH["finetune.services.gateway.resolve"]


def test_training_runs_by_its_claim_alone() -> None:
    claim = "finetune.services.runs.claim"
    assert {
        "tenants.services.licences.require_license",
        "tenants.services.licences.Right.TRAIN",
    } <= GRAPH[claim]
    assert users_of(GRAPH, claim) == {"finetune.services.attempt.perform"}
    trainer = users_of(GRAPH, "finetune.launcher.launch_trainer")
    assert trainer == {"finetune.services.attempt._work"}  # handed the lease that `perform` claimed


def routes() -> Iterator[tuple[str, str]]:
    """(address, its view's dotted name) of every view of ours."""

    def walk(resolver: URLResolver, before: str) -> Iterator[tuple[str, Any]]:
        for each in resolver.url_patterns:
            address = before + str(each.pattern)
            if isinstance(each, URLPattern):
                yield address, getattr(each.callback, "view_class", None) or each.callback
            else:
                yield from walk(each, address)

    for address, view in walk(get_resolver(), ""):
        name = f"{view.__module__}.{view.__qualname__}"
        if name.startswith(("finetune.", "privatune.", "tenants.")):
            yield address, name


def test_every_address_that_streams_is_in_the_table() -> None:
    streaming = reaching(
        GRAPH,
        "django.http.StreamingHttpResponse",
        "django.http.FileResponse",
        "django.http.response.StreamingHttpResponse",
        "django.http.response.FileResponse",
    )
    assert {address for address, name in routes() if name in streaming} == set(STREAMS)


def test_every_address_by_which_weights_leave_or_a_model_runs_says_so_in_the_table() -> None:
    doors = {
        Right.EXPORT: "finetune.services.artifacts.open_bundle",
        Right.SERVE: "finetune.services.gateway.generate",
    }
    for right, service in doors.items():
        through = {address for address, name in routes() if name in reaching(GRAPH, service)}
        assert through == {address for address, needed in STREAMS.items() if needed == right}


# --- the table, tried


@pytest.fixture
def customer(db: None) -> Customer:
    shelve()
    return new_customer(models=["shelf"])


@pytest.fixture
def artifact(customer: Customer) -> Artifact:
    with tenant_scope(customer.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"rows"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        base, licence = CatalogModel.objects.get(name="shelf"), License.objects.get()
        job = Job.objects.create(base=base, license=licence, training_file=file)
    give_result(customer, job.public_id)
    with tenant_scope(customer.tenant_id):
        return Artifact.objects.select_related("base").get()


def revoke(customer: Customer) -> None:
    with tenant_scope(customer.tenant_id):
        licence = License.objects.get()
    change_license(
        tenant_id=customer.tenant_id,
        license_id=licence.id,
        actor="operator",
        state=LicenseState.REVOKED,
    )


def knock(customer: Customer, artifact: Artifact, address: str) -> Any:
    """Asks at the address as somebody who may, were it not for the licence."""
    client = Client(raise_request_exception=False)
    path = "/" + address.replace("<slug:slug>", customer.slug)
    path = path.replace("<uuid:artifact_id>", str(artifact.id))
    path = path.replace("<str:artifact_id>", artifact.public_id)
    assert not re.search("<.*>", path)
    if address.startswith("t/"):
        user = User.objects.create_user(f"{uuid.uuid4().hex}@x.example", "x" * 16)
        add_member(tenant_id=customer.tenant_id, user=user, role=Role.OWNER, actor="test")
        client.force_login(user)
        return client.post(path, {"prompt": "hi"}) if path.endswith("chat") else client.get(path)
    headers = {"Authorization": f"Bearer {customer.key}"}
    if not address.startswith("v1/"):
        return client.get(path, headers=headers)
    body = {"model": artifact.model_name, "prompt": "hi"}
    if "chat" in address:
        body = {"model": artifact.model_name, "messages": [{"role": "user", "content": "hi"}]}  # type: ignore[dict-item]
    return client.post(path, body, content_type="application/json", headers=headers)


EXPORTING = [address for address, right in STREAMS.items() if right == Right.EXPORT]
LICENSED = [address for address, right in STREAMS.items() if isinstance(right, Right)]


@pytest.mark.parametrize("address", LICENSED)
def test_without_the_licence_the_door_is_shut(
    customer: Customer, artifact: Artifact, address: str
) -> None:
    if address in EXPORTING:
        assert knock(customer, artifact, address).status_code == 200
    revoke(customer)
    refused = knock(customer, artifact, address)
    assert refused.status_code == 403
    assert not refused.streaming
    assert b"your licence is revoked" in refused.content


def test_the_services_themselves_refuse_without_the_licence(
    customer: Customer, artifact: Artifact
) -> None:
    revoke(customer)
    with tenant_scope(customer.tenant_id):
        with pytest.raises(Refused, match="is revoked"):
            artifacts.open_bundle(artifact=artifact, actor="test")
        with pytest.raises(Refused, match="is revoked"):
            artifacts.load_adapter(artifact=artifact)


def test_what_is_asked_again_of_a_person_ends_with_the_membership(customer: Customer) -> None:
    user = User.objects.create_user(f"{uuid.uuid4().hex}@x.example", "x" * 16)
    add_member(tenant_id=customer.tenant_id, user=user, role=Role.ENGINEER, actor="test")
    request: Any = HttpRequest()
    request.user, request.session = user, {}
    enter(request, customer.slug)
    still_allowed(request, Scope.INFER)
    with tenant_scope(customer.tenant_id):
        Membership.objects.filter(user=user).update(role=Role.VIEWER)
    with pytest.raises(Refused, match="infer"):
        still_allowed(request, Scope.INFER)
    with tenant_scope(customer.tenant_id):
        Membership.objects.filter(user=user).delete()
    with pytest.raises(Refused, match="no longer belong"):
        still_allowed(request, Scope.INFER)


@pytest.mark.parametrize("address", EXPORTING)
def test_a_bundle_that_is_missing_is_said_on_a_page(
    customer: Customer, artifact: Artifact, address: str
) -> None:
    with tenant_scope(customer.tenant_id):
        open_vault().delete(artifact.bundle_object)
    response = knock(customer, artifact, address)
    assert response.status_code == 410
    assert b"no object" in response.content
