"""Generated from the URL configuration: every route of the API against another tenant's rows, no
key, and a key without the scope. A route that is not in the table of examples fails."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pytest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver

from finetune.models import Artifact, CatalogModel, Dataset, Evaluation, Event, Suite
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, License, Membership, UsageEntry
from tenants.roles import ALL_SCOPES, Role, Scope
from tenants.services.files import create_file, keep
from tenants.services.invitations import invite
from tenants.services.licences import charge, terms_of
from tenants.services.tenants import add_member, create_key
from tenants.services.uploads import create_upload
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, new_member, shelve
from tests.finetune.api.rows import give_checkpoint, give_event, give_result, give_samples
from tests.fixtures.database import Writing

pytestmark = pytest.mark.django_db

NOWHERE = "0" * 32
CLIENT = Client(raise_request_exception=False)  # one: each would load the middleware anew
INVITATION = {"email": "new@example.org", "role": "viewer"}
JOB = {"model": "shelf", "training_file": f"file-{NOWHERE}"}
PIPELINE = {"model": "shelf", "stages": [{"training_file": f"file-{NOWHERE}"}] * 2}
CHAT = {"model": "shelf", "messages": [{"role": "user", "content": "hi"}]}

GRADER = {
    "type": "string_check", "name": "exact", "operation": "eq", "reference": "hi",
    "input": "{{ sample.output_text }}",
}  # fmt: skip
EVAL = {
    "data_source_config": {"type": "custom", "item_schema": {"type": "object"}},
    "testing_criteria": [GRADER],
}
RUN = {"data_source": {
    "type": "completions", "model": "shelf",
    "source": {"type": "file_content", "content": [{"item": {"prompt": "a"}}]},
}}  # fmt: skip
# Of the owner's rows, by their places in addresses below another row's; set where they are made.
INNER = {"<str:run_id>": f"evalrun_{NOWHERE}", "<str:item_id>": f"outputitem_{NOWHERE}_0"}
ITEM = b"""{"row": 1, "tags": [], "item": {}, "input": [], "sides": {"model": {"model": "shelf",
"answer": "hi", "error": null, "results": [], "score": 1, "passed": true, "errored": false}}}
""".replace(b"\n", b" ")


@dataclass(frozen=True)
class Example:
    """How a route is asked. `kind` names the row whose id it takes first; None: it takes none."""

    kind: str | None = None
    bodies: dict[str, Any] = field(default_factory=dict)
    query: str = ""


EXAMPLES = {
    "v1/files": Example(bodies={"post": {"purpose": "user_data"}}),
    "v1/files/<str:file_id>": Example("file"),
    "v1/files/<str:file_id>/content": Example("file"),
    "v1/uploads": Example(bodies={"post": {"bytes": 1, "filename": "a", "mime_type": "b"}}),
    "v1/uploads/<str:upload_id>/parts": Example("upload"),
    "v1/uploads/<str:upload_id>/complete": Example(
        "upload", {"post": {"part_ids": [f"part_{NOWHERE}"]}}
    ),
    "v1/uploads/<str:upload_id>/cancel": Example("upload"),
    "v1/fine_tuning/jobs": Example(bodies={"post": JOB}),
    "v1/fine_tuning/jobs/<str:job_id>": Example("job"),
    "v1/fine_tuning/jobs/<str:job_id>/cancel": Example("job"),
    "v1/fine_tuning/jobs/<str:job_id>/pause": Example("job"),
    "v1/fine_tuning/jobs/<str:job_id>/resume": Example("job"),
    "v1/fine_tuning/jobs/<str:job_id>/events": Example("job"),
    "v1/fine_tuning/jobs/<str:job_id>/checkpoints": Example("job"),
    "v1/fine_tuning/alpha/graders/run": Example(
        bodies={"post": {"grader": GRADER, "model_sample": "hi"}}
    ),
    "v1/fine_tuning/alpha/graders/validate": Example(bodies={"post": {"grader": GRADER}}),
    "v1/models": Example(),
    "v1/models/<str:model>": Example("model"),
    "v1/chat/completions": Example(bodies={"post": CHAT}),
    "v1/completions": Example(bodies={"post": {"model": "shelf", "prompt": "hi"}}),
    "v1/responses": Example(bodies={"post": {"model": "shelf", "input": "hi"}}),
    "v1/evals": Example(bodies={"post": EVAL}),
    "v1/evals/<str:eval_id>": Example("suite"),
    "v1/evals/<str:eval_id>/runs": Example("suite", {"post": RUN}),
    "v1/evals/<str:eval_id>/runs/<str:run_id>": Example("suite"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>/cancel": Example("suite"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>/output_items": Example("suite"),
    "v1/evals/<str:eval_id>/runs/<str:run_id>/output_items/<str:item_id>": Example("suite"),
    "v1/embeddings": Example(bodies={"post": {"model": "shelf", "input": "hi"}}),
    "v1/rerank": Example(bodies={"post": {"model": "shelf", "query": "a", "documents": ["b"]}}),
    "api/v1/artifacts": Example(),
    "api/v1/artifacts/<str:artifact_id>": Example("artifact"),
    "api/v1/artifacts/<str:artifact_id>/chain": Example("artifact"),
    "api/v1/artifacts/<str:artifact_id>/content": Example("artifact"),
    "api/v1/artifacts/<str:artifact_id>/forms": Example("artifact", {"post": {"form": "merged"}}),
    "api/v1/audit": Example(),
    "api/v1/artifacts/<str:artifact_id>/release": Example("artifact"),
    "api/v1/audit/check": Example(),
    "api/v1/audit/export": Example(),
    "api/v1/catalog": Example(),
    "api/v1/catalog/<str:name>": Example(),  # the shelf is the same for everybody
    "api/v1/datasets": Example(
        bodies={"post": {"file": f"file-{0:032x}", "columns": {"output": "answer"}}}
    ),
    "api/v1/datasets/<str:dataset_id>": Example("dataset"),
    "api/v1/datasets/<str:dataset_id>/errors": Example("dataset"),
    "api/v1/evaluations": Example(
        bodies={"post": {"model": "shelf", "file": f"file-{NOWHERE}", "criteria": [GRADER]}}
    ),
    "api/v1/evaluations/<str:evaluation_id>": Example("evaluation"),
    "api/v1/evaluations/<str:evaluation_id>/abilities": Example("evaluation"),
    "api/v1/evaluations/<str:evaluation_id>/cancel": Example("evaluation"),
    "api/v1/evaluations/<str:evaluation_id>/compare": Example("evaluation", query="?with="),
    "api/v1/evaluations/<str:evaluation_id>/items": Example("evaluation"),
    "api/v1/estimates": Example(bodies={"post": JOB}),
    "api/v1/estimates/<str:estimate_id>": Example("estimate"),
    "api/v1/jobs/<str:job_id>/estimate": Example("job"),
    "api/v1/jobs/<str:job_id>/learning-curve": Example("job"),
    "api/v1/jobs/<str:job_id>/samples": Example("job"),
    "api/v1/files/<str:file_id>/preview": Example("file", query="?model=shelf"),
    "api/v1/files/<str:file_id>/versions": Example("file"),
    "api/v1/forms/<str:form_id>": Example("form"),
    "api/v1/forms/<str:form_id>/cancel": Example("form"),
    "api/v1/forms/<str:form_id>/content": Example("form"),
    "api/v1/pipelines": Example(bodies={"post": PIPELINE}),
    "api/v1/pipelines/<str:pipeline_id>": Example("pipeline"),
    "api/v1/pipelines/<str:pipeline_id>/approve": Example("pipeline"),
    "api/v1/pipelines/<str:pipeline_id>/cancel": Example("pipeline"),
    "api/v1/pipelines/<str:pipeline_id>/pause": Example("pipeline"),
    "api/v1/pipelines/<str:pipeline_id>/resume": Example("pipeline"),
    "api/v1/pipelines/<str:pipeline_id>/retry": Example("pipeline"),
    "api/v1/profiles": Example(bodies={"post": {"file": f"file-{NOWHERE}"}}),
    "api/v1/profiles/<str:profile_id>": Example("profile"),
    "api/v1/profiles/<str:profile_id>/findings": Example("profile"),
    "api/v1/minings": Example(bodies={"post": {"file": f"file-{NOWHERE}", "model": "shelf"}}),
    "api/v1/minings/<str:mining_id>": Example("mining"),
    "api/v1/minings/<str:mining_id>/cancel": Example("mining"),
    "api/v1/scrubs": Example(bodies={"post": {"file": f"file-{NOWHERE}"}}),
    "api/v1/scrubs/<str:scrub_id>": Example("scrub"),
    "api/v1/scrubs/<str:scrub_id>/changes": Example("scrub"),
    "api/v1/invitations": Example(bodies={"post": INVITATION}),
    "api/v1/invitations/<str:invitation_id>": Example("invitation"),
    "api/v1/keys": Example(bodies={"post": {"name": "k"}}),
    "api/v1/keys/<str:key_id>": Example("key"),
    "api/v1/keys/<str:key_id>/rotate": Example("key"),
    "api/v1/licences": Example(),
    "api/v1/licences/<str:licence_id>": Example("license"),
    "api/v1/members": Example(),
    "api/v1/members/<str:member_id>": Example("member", {"patch": {"role": "owner"}}),
    "api/v1/signing-key": Example(),
    "api/v1/support-access": Example(bodies={"post": {"hours": 1, "reason": "look"}}),
    "api/v1/usage": Example(),
}
PUBLIC = {"api/v1/schema", "api/v1/docs", r"^(?:v1|api)(?:/.*)?$"}


def api_routes() -> Iterator[tuple[str, Any]]:
    for route, callback in _walk(get_resolver().url_patterns, ""):
        if route.startswith(("v1", "api", "^(?:v1")):
            yield route, callback


def _walk(patterns: list[Any], before: str) -> Iterator[tuple[str, Any]]:
    for pattern in patterns:
        route = before + str(pattern.pattern)
        if isinstance(pattern, URLResolver):
            yield from _walk(pattern.url_patterns, route)
        elif isinstance(pattern, URLPattern):
            yield route, pattern.callback


def calls(*, with_id: bool = False) -> list[tuple[str, str]]:
    """(route, method) of everything that needs a key."""
    return [
        (route, method)
        for route, callback in api_routes()
        if route not in PUBLIC and (not with_id or EXAMPLES.get(route, Example()).kind)
        for method in callback.view_class.scopes
    ]


@pytest.fixture(scope="module")
def owner(writing: Writing) -> Customer:
    """A tenant that holds one row of every kind."""
    with writing():
        shelve()
        return new_customer(models=["shelf"])


@pytest.fixture(scope="module")
def stranger(writing: Writing, owner: Customer) -> Customer:
    """A tenant with rights as the owner's, and none of its rows."""
    with writing():
        return new_customer(models=["shelf"])


@pytest.fixture(scope="module")
def holders(writing: Writing, owner: Customer) -> dict[frozenset[Scope], Customer]:
    """By the scopes of its key: a customer with a single one, and one with all others, of each."""
    singles = [frozenset({scope}) for scope in Scope]
    with writing():
        return {
            scopes: new_customer(scopes=scopes, models=["shelf"])
            for single in singles
            for scopes in (single, ALL_SCOPES - single)
        }


@pytest.fixture(scope="module")
def ids(writing: Writing, owner: Customer) -> dict[str, str]:
    """The public id of each kind of the owner's rows."""
    with writing():
        return _one_of_each(owner)


def _one_of_each(owner: Customer) -> dict[str, str]:
    from finetune.models import Estimate, Form, Job, Mining, Pipeline, Profile, Scrub, Stage

    with tenant_scope(owner.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"secret"], limit=100)
        file = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
        upload = create_upload(
            filename="a", purpose="user_data", bytes=5, mime_type="b", life=None, limit=9, actor="t"
        )
        errors = open_vault().put_bytes("datasets/errors", b"{}\n")
        dataset = Dataset.objects.create(file=file, errors_object="datasets/errors")
        assert errors.plaintext_bytes
        licence = License.objects.get()
        base = CatalogModel.objects.get(name="shelf")
        job = Job.objects.create(base=base, license=licence, training_file=file)
        estimate = Estimate.objects.create(job=job)
        pipeline = Pipeline.objects.create(base=base, license=licence, model="shelf", total=2)
        for number in (1, 2):
            Stage.objects.create(
                pipeline=pipeline, number=number, training_file=file, seed=1,
                request={"model": "shelf", "training_file": str(file.id)},
            )  # fmt: skip
        charge(licence=licence, kind="train", tokens=1, reference="job")
        rows = open_vault().put_bytes("datasets/rows", b'{"text": "bob@corp.io"}\n')
        Dataset.objects.filter(id=dataset.id).update(
            state="ready", format="text", rows_object="datasets/rows", rows_sha256=rows.sha256
        )
        open_vault().put_bytes("profiles/findings", b'{"row": 1, "masked": {"text": []}}\n')
        named = {"file": file, "findings_object": "profiles/findings", "state": "succeeded"}
        profile = Profile.objects.create(**named)
        scrub = Scrub.objects.create(**named, result=file, rows_sha256=rows.sha256, kinds=["email"])
        mining = Mining.objects.create(file=file, model="shelf", state="failed")
        suite = Suite.objects.create(name="s", criteria=[GRADER], source_config={})
        asked = {"model": "shelf"}
        part = open_vault().put_bytes("evaluations/part", ITEM)
        evaluation = Evaluation.objects.create(
            suite=suite, file=file, base=base, model="shelf", requested=asked, digest="d",
            parts=[{"name": "evaluations/part", "rows": 1, "bytes": part.plaintext_bytes}],
            state="cancelled",
        )  # fmt: skip
        item = f"outputitem_{evaluation.id.hex}_0"
        run = evaluation.public_id
        INNER.update({"<str:run_id>": run, "<str:item_id>": item})
    give_checkpoint(owner, job.public_id, 1)
    give_event(owner, job.public_id, "message", {})
    give_samples(owner, job.public_id, 1, "secret")
    model = give_result(owner, job.public_id)
    key, _ = create_key(tenant_id=owner.tenant_id, name="second", actor="t")
    user, person = new_member(owner)
    with tenant_scope(owner.tenant_id):
        invitation, _ = invite(by=person, email="x@example.org", role=Role.VIEWER)
        member = Membership.objects.get(user=user)
    with tenant_scope(owner.tenant_id):
        rows = {
            "file": file, "upload": upload, "job": job, "dataset": dataset, "license": licence,
            "key": key, "member": member, "artifact": Artifact.objects.get(),
            "usage": UsageEntry.objects.get(), "event": Event.objects.first(),
            "audit": AuditEntry.objects.first(), "invitation": invitation,
            "suite": suite, "evaluation": evaluation,
            "estimate": estimate, "pipeline": pipeline, "profile": profile, "scrub": scrub,
            "mining": mining,
        }  # fmt: skip
        open_vault().put_bytes("forms/tar", b"a tar")
        rows["form"] = Form.objects.create(
            artifact=Artifact.objects.get(), form="merged", state="succeeded",
            object_name="forms/tar", bytes=5, granted=terms_of(licence),
        )  # fmt: skip
        public = {kind: row.public_id for kind, row in rows.items() if row is not None}
        return public | {"model": model, "checkpoint": f"ftckpt_{NOWHERE}"}


def nowhere(kind: str, known: str) -> str:
    """An id of the same form that nobody has."""
    if kind == "model":
        return known[:-8] + "00000000"
    return known[:-32] + NOWHERE


def send(
    customer: Customer | None, route: str, method: str, row_id: str = "shelf"
) -> tuple[int, bytes, dict[str, str]]:
    """Status, body and headers, less what differs between any two answers."""
    path = re.sub("<[^>]*>", row_id, f"/{route}", count=1)
    for place, inner in INNER.items():
        path = path.replace(place, inner)
    path += EXAMPLES[route].query.replace("?with=", f"?with={INNER['<str:run_id>']}")
    options: dict[str, Any] = {"content_type": "application/json"}
    if customer is not None:
        options["headers"] = {"Authorization": f"Bearer {customer.key}"}
    body = EXAMPLES[route].bodies.get(method, {})
    if method == "get":
        options.pop("content_type")
        body = None  # an empty one would take the query's place
    response = getattr(CLIENT, method)(path, body, **options)
    content = response.getvalue() if not response.streaming else b"streamed"
    headers = {name: value for name, value in response.items() if name != "x-request-id"}
    assert response["x-request-id"]
    return response.status_code, content, headers


def test_every_route_is_in_the_table_and_the_table_names_no_other() -> None:
    routes = {route for route, _ in api_routes()}
    assert routes - PUBLIC == set(EXAMPLES)
    assert routes >= PUBLIC


@pytest.mark.parametrize(("route", "method"), calls(with_id=True))
def test_another_tenants_id_answers_as_one_that_nobody_has(
    owner: Customer, ids: dict[str, str], stranger: Customer, route: str, method: str
) -> None:
    kind = EXAMPLES[route].kind
    assert kind is not None
    with tenant_scope(owner.tenant_id):
        before = AuditEntry.objects.count()
    foreign = send(stranger, route, method, ids[kind])
    assert foreign[0] == 404
    assert foreign == send(stranger, route, method, nowhere(kind, ids[kind]))
    assert send(stranger, route, method, "nonsense")[:2] == foreign[:2]
    with tenant_scope(owner.tenant_id):
        assert AuditEntry.objects.count() == before, "a stranger's request changed something"
    own = send(owner, route, method, ids[kind])
    assert own[0] in (200, 400, 403), "the owner must find the row, or this test shows nothing"


@pytest.mark.parametrize(("route", "method"), calls())
def test_a_route_without_a_key_is_401(route: str, method: str) -> None:
    assert send(None, route, method)[0] == 401


@pytest.mark.parametrize(("route", "method"), calls())
def test_a_key_without_the_scope_is_403(
    holders: dict[frozenset[Scope], Customer], route: str, method: str
) -> None:
    needed = dict(api_routes())[route].view_class.scopes[method]
    status, body, _ = send(holders[ALL_SCOPES - {needed}], route, method)
    assert status == 403
    assert needed.value.encode() in body
    status, body, _ = send(holders[frozenset({needed})], route, method)
    assert status != 401
    assert b"missing_scope" not in body, "the named scope must be enough"


LISTS = {
    "/v1/evals": "suite",
    "/api/v1/evaluations": "evaluation",
    "/v1/files": "file",
    "/v1/fine_tuning/jobs": "job",
    "/api/v1/artifacts": "artifact",
    "/api/v1/audit": "audit",
    "/api/v1/datasets": "dataset",
    "/api/v1/invitations": "invitation",
    "/api/v1/keys": "key",
    "/api/v1/licences": "license",
    "/api/v1/members": "member",
    "/api/v1/minings": "mining",
    "/api/v1/pipelines": "pipeline",
    "/api/v1/profiles": "profile",
    "/api/v1/scrubs": "scrub",
    "/api/v1/usage": "usage",
}


def test_lists_show_own_rows_only_and_take_no_foreign_cursor(
    owner: Customer, ids: dict[str, str], stranger: Customer
) -> None:
    for path, kind in LISTS.items():
        headers = {"Authorization": f"Bearer {stranger.key}"}
        body = CLIENT.get(path, headers=headers).content
        assert ids[kind].encode() not in body
        mine = CLIENT.get(path, headers={"Authorization": f"Bearer {owner.key}"}).content
        assert ids[kind].encode() in mine
        foreign = CLIENT.get(path, {"after": ids[kind]}, headers=headers)
        absent = CLIENT.get(path, {"after": nowhere(kind, ids[kind])}, headers=headers)
        assert foreign.status_code == 404
        assert foreign.content == absent.content


@pytest.mark.parametrize("field_name", ["training_file", "validation_file"])
def test_a_foreign_file_in_a_body_is_as_one_that_nobody_has(
    ids: dict[str, str], stranger: Customer, field_name: str
) -> None:
    with tenant_scope(stranger.tenant_id):
        kept = keep(vault=open_vault(), pieces=[b"x"], limit=9)
        own = create_file(
            filename="a", purpose="fine-tune", kept=kept, status="processed", life=None, actor="t"
        )
    answers = [
        CLIENT.post(
            "/v1/fine_tuning/jobs",
            {"model": "shelf", "training_file": own.public_id} | {field_name: file_id},
            content_type="application/json",
            headers={"Authorization": f"Bearer {stranger.key}"},
        )
        for file_id in (ids["file"], f"file-{NOWHERE}")
    ]
    assert [each.status_code for each in answers] == [404, 404]
    assert answers[0].content == answers[1].content


def test_members_of_one_tenant_are_no_members_of_another(
    owner: Customer, stranger: Customer
) -> None:
    user, _ = new_member(owner)
    add_member(tenant_id=stranger.tenant_id, user=user, role=Role.VIEWER, actor="t")
    with tenant_scope(stranger.tenant_id):
        assert Membership.objects.count() == 1
