"""Whatever gives bytes out or speaks to the model server asks for scope, tenant and licence itself:
the services alone, without any view before them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import pytest
from asgiref.sync import async_to_sync

from finetune.models import Artifact, CatalogModel, Dataset, Form, Job
from finetune.services import trail
from finetune.services.files import datasets
from finetune.services.forms import leaving
from finetune.services.models import artifacts, gateway, tokens
from finetune.services.models.gateway import ServingDown, Target
from tenants.access import Principal
from tenants.database.scope import tenant_scope
from tenants.errors import NotFound, Refused
from tenants.models import License, LicenseState, StoredFile
from tenants.rights import Right
from tenants.roles import ALL_SCOPES, READ_SCOPES, Role, Scope
from tenants.services.files import create_file, keep, open_file
from tenants.services.licences import terms_of
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_result
from tests.fixtures.principals import somebody

ASKED = {"prompt": "hi", "max_tokens": 1}


@dataclass(frozen=True)
class Held:
    """What a customer has that could leave."""

    customer: Customer
    file: StoredFile
    reading: Dataset
    artifact: Artifact
    target: Target
    form: Form


@dataclass(frozen=True)
class Door:
    """`ask` in the tenant's scope; `right` None: the tenant's own words, no licence is asked."""

    ask: Callable[[Held, Principal], Any]
    scope: Scope
    right: Right | None = None
    named: bool = True  # it is told whose row it is about; else it gives the caller's own
    speaks: bool = False  # to the model server, which is down here


async def _reserve(held: Held, by: Principal) -> Any:
    return await gateway.reserve(target=held.target, generations=[ASKED], by=by)


async def _generate(held: Held, by: Principal) -> Any:
    reserved = tokens.reserve(
        tenant_id=held.customer.tenant_id, per_minute=1000, amount=1, answers=1
    )
    stream = gateway.generate(target=held.target, generation=ASKED, reserved=reserved, by=by)
    return [delta async for delta in stream]


DOORS = {
    "file": Door(lambda held, by: open_file(file=held.file, by=by), Scope.FILES_READ),
    "problems": Door(lambda held, by: datasets.open_errors(held.reading, by=by), Scope.FILES_READ),
    "report": Door(lambda held, by: datasets.full_report(held.reading, by=by), Scope.FILES_READ),
    "reports": Door(
        lambda held, by: datasets.full_reports([held.reading], by=by), Scope.FILES_READ
    ),
    "results": Door(
        lambda held, by: open_file(file=held.artifact.metrics_file, by=by), Scope.FILES_READ
    ),
    "trail": Door(lambda held, by: trail.export(by=by), Scope.TENANT_READ, named=False),
    "bundle": Door(
        lambda held, by: artifacts.open_bundle(artifact=held.artifact, by=by),
        Scope.ARTIFACTS_READ,
        Right.EXPORT,
    ),
    "form": Door(
        lambda held, by: leaving.open_form(form=held.form, by=by),
        Scope.ARTIFACTS_READ,
        Right.MERGE,
    ),
    "adapter": Door(
        lambda held, by: artifacts.load_adapter(artifact=held.artifact, by=by),
        Scope.INFER,
        Right.SERVE,
    ),
    "reserve": Door(async_to_sync(_reserve), Scope.INFER, Right.SERVE, speaks=True),
    "generate": Door(async_to_sync(_generate), Scope.INFER, Right.SERVE, speaks=True),
}
LICENSED = {name: door for name, door in DOORS.items() if door.right is not None}
BEYOND_VIEWERS = {name: door for name, door in DOORS.items() if door.scope not in READ_SCOPES}


@pytest.fixture
def held(db: None) -> Held:
    shelve()
    customer = new_customer(models=["shelf"])
    with tenant_scope(customer.tenant_id):
        vault = open_vault()
        kept = keep(vault=vault, pieces=[b"rows"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        problem = json.dumps({"line": 1, "code": "invalid_json"}).encode() + b"\n"
        listed = keep(vault=vault, pieces=[problem], limit=1000)
        reading = Dataset.objects.create(
            file=file, state="refused", report={}, errors_object=listed.object_name
        )
        base, licence = CatalogModel.objects.get(name="shelf"), License.objects.get()
        job = Job.objects.create(base=base, license=licence, training_file=file)
    give_result(customer, job.public_id)
    with tenant_scope(customer.tenant_id):
        artifact = Artifact.objects.select_related("base", "metrics_file").get()
        target = gateway.resolve(name=artifact.model_name)
        open_vault().put_bytes("forms/tar", b"a tar")
        form = Form.objects.create(
            artifact=artifact,
            form="merged",
            state="succeeded",
            object_name="forms/tar",
            granted=terms_of(License.objects.get()),
        )
    return Held(customer, file, reading, artifact, target, form)


def ask(held: Held, door: Door, by: Principal) -> Any:
    with tenant_scope(held.customer.tenant_id):
        return door.ask(held, by)


@pytest.mark.parametrize("name", DOORS)
def test_whoever_may_gets_it(held: Held, name: str) -> None:
    door, by = DOORS[name], somebody(held.customer.tenant_id, scopes=[DOORS[name].scope])
    if door.speaks:
        with pytest.raises(ServingDown):
            ask(held, door, by)
    else:
        assert ask(held, door, by) is not None


@pytest.mark.parametrize("name", DOORS)
def test_a_key_without_the_scope_gets_nothing(held: Held, name: str) -> None:
    by = somebody(held.customer.tenant_id, scopes=ALL_SCOPES - {DOORS[name].scope})
    with pytest.raises(Refused, match=f"needs the scope `{DOORS[name].scope.value}`"):
        ask(held, DOORS[name], by)


@pytest.mark.parametrize("name", BEYOND_VIEWERS)
def test_a_viewer_takes_no_weights_and_asks_no_model(held: Held, name: str) -> None:
    with pytest.raises(Refused, match="needs the scope"):
        ask(held, DOORS[name], somebody(held.customer.tenant_id, Role.VIEWER))


@pytest.mark.parametrize("name", [name for name, door in DOORS.items() if door.named])
def test_another_tenant_finds_nothing_there(held: Held, name: str) -> None:
    stranger = somebody(new_customer(models=["shelf"]).tenant_id)
    with pytest.raises(NotFound):
        ask(held, DOORS[name], stranger)


NOT_LICENSED: dict[str, tuple[dict[str, Any], str]] = {
    "none": ({"model": "another"}, "you hold no licence"),
    "revoked": ({"state": LicenseState.REVOKED}, "is revoked"),
    "suspended": ({"state": LicenseState.SUSPENDED}, "is suspended"),
    "over": ({"valid_until": "2020-01-01T00:00:00Z"}, "expired, its last day was 2019-12-31"),
    "without the right": ({"rights": []}, "does not include the right"),
}


@pytest.mark.parametrize("state", NOT_LICENSED)
@pytest.mark.parametrize("name", LICENSED)
def test_without_the_licence_nobody_gets_it(held: Held, name: str, state: str) -> None:
    changes, says = NOT_LICENSED[state]
    with tenant_scope(held.customer.tenant_id):
        License.objects.update(**changes)
    with pytest.raises(Refused, match=says):
        ask(held, DOORS[name], somebody(held.customer.tenant_id))
