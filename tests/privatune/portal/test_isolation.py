"""Generated from the portal's URL configuration: every room against another tenant's rows, without
sign-in, and by a viewer. A room that is not in the table fails."""

import re
import uuid
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern

from finetune.models import (
    Artifact,
    CatalogModel,
    Dataset,
    Evaluation,
    Form,
    Job,
    Mining,
    Pipeline,
    Profile,
    Scrub,
    Suite,
)
from privatune.portal.urls import rooms
from tenants.database.scope import tenant_scope
from tenants.models import License, User
from tenants.roles import Role
from tenants.services.files import create_file, keep
from tenants.services.licences import terms_of
from tenants.services.tenants import add_member
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_result
from tests.fixtures.database import Writing

pytestmark = pytest.mark.django_db

NOWHERE = uuid.UUID(int=0)
CLIENT = Client(raise_request_exception=False)

# Rooms without an id, and whether they only take a form.
PLAIN = {
    "": "get", "files/": "get", "files/upload": "post", "jobs/": "get",
    "evaluations/": "get", "evaluations/new": "get", "jobs/new": "get",
    "pipelines/": "get", "pipelines/new": "get", "models/": "get", "licences/": "get",
    "members/": "get", "keys/": "get", "audit/": "get", "audit/export": "get", "settings": "get",
}  # fmt: skip
POSTED = {
    "columns", "profile", "scrub", "mine", "delete", "cancel", "pause", "resume", "chat", "release",
    "approve", "retry", "forms",
}  # fmt: skip
ROUTES = [str(each.pattern) for each in rooms if isinstance(each, URLPattern)]
WITH_ID = [route for route in ROUTES if "<" in route]


@pytest.fixture(scope="module")
def owner(writing: Writing) -> Customer:
    with writing():
        shelve()
        return new_customer(models=["shelf"])


@pytest.fixture(scope="module")
def own_person(writing: Writing, owner: Customer) -> User:
    with writing():
        return person(owner)


@pytest.fixture(scope="module")
def viewer(writing: Writing, owner: Customer) -> User:
    with writing():
        return person(owner, Role.VIEWER)


@pytest.fixture(scope="module")
def theirs(writing: Writing, owner: Customer) -> Customer:
    """Another tenant with rights as the owner's, and none of its rows."""
    with writing():
        return new_customer(models=["shelf"])


@pytest.fixture(scope="module")
def stranger(writing: Writing, theirs: Customer) -> User:
    with writing():
        return person(theirs)


@pytest.fixture(scope="module")
def ids(writing: Writing, owner: Customer) -> dict[str, uuid.UUID]:
    with writing():
        return _one_of_each(owner)


def _one_of_each(owner: Customer) -> dict[str, uuid.UUID]:
    with tenant_scope(owner.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"secret"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        open_vault().put_bytes("datasets/errors", b"{}\n")
        dataset = Dataset.objects.create(file=file, errors_object="datasets/errors")
        open_vault().put_bytes("profiles/found", b"{}\n")
        named = {"file": file, "findings_object": "profiles/found", "state": "succeeded"}
        profile, scrub = Profile.objects.create(**named), Scrub.objects.create(**named)
        mining = Mining.objects.create(file=file, model="shelf", state="failed")
        job = Job.objects.create(
            base=CatalogModel.objects.get(name="shelf"),
            license=License.objects.get(),
            training_file=file,
        )
        pipeline = Pipeline.objects.create(
            base=job.base, license=job.license, model="shelf", total=2
        )
        evaluation = Evaluation.objects.create(
            suite=Suite.objects.create(), file=file, base=job.base, model="shelf", digest="d",
            requested={"model": "shelf"},
        )  # fmt: skip
    give_result(owner, job.public_id)
    with tenant_scope(owner.tenant_id):
        artifact = Artifact.objects.get()
        open_vault().put_bytes("forms/tar", b"a tar")
        form = Form.objects.create(
            artifact=artifact,
            form="merged",
            state="succeeded",
            object_name="forms/tar",
            granted=terms_of(License.objects.get()),
        )
    return {
        "form_id": form.id,
        "file_id": file.id, "dataset_id": dataset.id, "job_id": job.id, "artifact_id": artifact.id,
        "pipeline_id": pipeline.id,
        "evaluation_id": evaluation.id, "profile_id": profile.id, "scrub_id": scrub.id,
        "mining_id": mining.id,
    }  # fmt: skip


def person(customer: Customer, role: Role = Role.OWNER) -> User:
    user = User.objects.create_user(f"{uuid.uuid4().hex}@{customer.slug}.example", "x" * 16)
    add_member(tenant_id=customer.tenant_id, user=user, role=role, actor="test")
    return user


def visit(user: User | None, slug: str, route: str, ids: dict[str, uuid.UUID]) -> tuple[int, bytes]:
    path = f"/t/{slug}/{route}"
    for name, value in ids.items():
        path = re.sub(rf"<\w+:{name}>", str(value), path)
    CLIENT.logout()
    if user is not None:
        CLIENT.force_login(user)
    posted = PLAIN.get(route) == "post" or route.rsplit("/", 1)[-1] in POSTED
    data: dict[str, Any] = {"prompt": "hi"}
    response = CLIENT.post(path, data) if posted else CLIENT.get(path)
    return response.status_code, b"streamed" if response.streaming else response.content


def test_the_table_names_every_room_without_an_id() -> None:
    assert set(ROUTES) - set(WITH_ID) == set(PLAIN)


@pytest.mark.parametrize("route", WITH_ID)
def test_another_tenants_row_answers_as_one_that_nobody_has(
    owner: Customer,
    own_person: User,
    theirs: Customer,
    stranger: User,
    ids: dict[str, uuid.UUID],
    route: str,
) -> None:
    foreign = visit(stranger, theirs.slug, route, ids)
    assert foreign[0] == 404
    assert foreign == visit(stranger, theirs.slug, route, dict.fromkeys(ids, NOWHERE))
    assert visit(own_person, owner.slug, route, ids)[0] != 404, "or this test shows nothing"


@pytest.mark.parametrize("route", ROUTES)
def test_another_tenants_address_answers_as_one_that_nobody_has(
    owner: Customer, stranger: User, ids: dict[str, uuid.UUID], route: str
) -> None:
    foreign = visit(stranger, owner.slug, route, ids)
    assert foreign[0] == 404
    assert foreign == visit(stranger, "nobody", route, ids)


@pytest.mark.parametrize("route", ROUTES)
def test_without_sign_in_every_room_leads_to_the_sign_in(
    owner: Customer, ids: dict[str, uuid.UUID], route: str
) -> None:
    assert visit(None, owner.slug, route, ids)[0] == 302
    assert visit(None, "nobody", route, ids)[0] == 302


@pytest.mark.parametrize(
    "route",
    [
        "files/upload",
        "jobs/new",
        "jobs/<job:job_id>/cancel",
        "pipelines/new",
        "pipelines/<pipeline:pipeline_id>/approve",
        "evaluations/new",
        "files/<file:file_id>/profile",
        "files/<file:file_id>/scrub",
        "files/<file:file_id>/mine",
        "files/<file:file_id>/minings/<uuid:mining_id>/cancel",
    ],
)
def test_a_viewer_changes_nothing(
    owner: Customer, viewer: User, ids: dict[str, uuid.UUID], route: str
) -> None:
    assert visit(viewer, owner.slug, route, ids)[0] == 403
