"""Every door through which bytes leave or a model runs, derived from the source and from the
addresses, against tables that say which right each asks. A second door fails here until it does."""

import json
import re
import threading
import uuid
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from functools import cache
from itertools import pairwise
from typing import Any

import pytest
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.urls import URLPattern, URLResolver, get_resolver
from django.utils import timezone

from finetune.models import (
    Artifact,
    CatalogModel,
    Dataset,
    Evaluation,
    Form,
    Job,
    Profile,
    Scrub,
    Suite,
)
from finetune.services.models import artifacts
from privatune.portal.access import enter, still_allowed
from tenants.actor import Actor
from tenants.database.scope import tenant_scope
from tenants.errors import Refused
from tenants.models import AuditEntry, License, LicenseState, Membership, User
from tenants.rights import Right
from tenants.roles import Role, Scope
from tenants.services.files import create_file, keep
from tenants.services.licences import change_license, terms_of
from tenants.services.staff_reads import note_read
from tenants.services.tenants import add_member
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.finetune.api.rows import give_result, give_samples
from tests.finetune.api.test_isolation import ITEM
from tests.fixtures.people import member
from tests.fixtures.principals import somebody
from tests.privatune.graph import reaching, read_graph, users_of

graph = cache(read_graph)  # which takes a second or two: not where tests are only collected

OWN = "the tenant's own words and figures: no licence is asked"
INSIDE = "gives nothing to a caller"
AGAIN = "what the same caller was answered before"
WRITES = "puts into the vault or deletes, gives nothing out"
ALONE = "serves what was taken away, where there is no tenant; its signed licence is asked"
WORKER = "under a lease, whose claim asks to train"

# Who opens a vault, and for what.
VAULTS: dict[str, Right | str] = {
    "finetune.api.wire.files.Files": WRITES,
    "finetune.api.wire.uploads.Complete": WRITES,
    "finetune.api.wire.uploads.Parts": WRITES,
    "finetune.services.models.artifacts.delete_model": WRITES,
    "finetune.services.models.artifacts.load_adapter": Right.SERVE,
    "finetune.services.models.artifacts.open_bundle": Right.EXPORT,
    "finetune.services.models.prompting.trained_system_message": OWN,
    "finetune.services.runs.attempt._work": WORKER,
    "finetune.services.evaluations.evaluating._evaluate": INSIDE,
    "finetune.services.evaluations.gating._rows": INSIDE,  # their number
    "finetune.services.evaluations.lifecycle._drop_objects": WRITES,
    "finetune.services.evaluations.lifecycle.kept_file": WRITES,
    "finetune.services.evaluations.reading.items_between": OWN,
    "finetune.services.evaluations.reading.items_where": OWN,
    "finetune.services.evaluations.reading.open_items": OWN,
    "finetune.services.evaluations.reading.tags_of": OWN,
    "finetune.services.estimates.rehearsing._measure": WORKER,
    "finetune.services.forms.asking._drop": WRITES,
    "finetune.services.forms.leaving.open_form": Right.MERGE,
    "finetune.services.forms.making._make": WORKER,
    "finetune.services.files.checking._check": INSIDE,
    "finetune.services.files.columns._read_anew": WRITES,
    "finetune.services.files.datasets.full_report": OWN,
    "finetune.services.files.datasets.full_reports": OWN,
    "finetune.services.files.datasets.open_errors": OWN,
    "finetune.services.files.intake._drop_items": WRITES,
    "finetune.services.files.profiling._profile": INSIDE,
    "finetune.services.files.profiling.drop_profiles": WRITES,
    "finetune.services.files.profiling.open_findings": OWN,
    "finetune.services.files.profiling.rows_by_tag": OWN,
    "finetune.services.files.scrubbing._scrub": INSIDE,
    "finetune.services.files.scrubbing.changed_rows": OWN,
    "finetune.services.files.scrubbing.drop_changes": WRITES,
    "finetune.services.files.versions.drop_minings": WRITES,
    "finetune.services.mining.making._mine": INSIDE,
    "finetune.services.mining.making.without_parts": WRITES,
    "finetune.services.files.intake._drop_readings": WRITES,
    "finetune.services.files.intake._drop_samples": WRITES,
    "finetune.services.files.intake._drop_spent_checkpoints": WRITES,
    "finetune.services.jobs.preview._asked": Right.TRAIN,
    "finetune.services.jobs.samples.samples_of": Right.SERVE,
    "finetune.services.jobs.steps._forget_judgements": WRITES,
    "finetune.services.jobs.validation._draw": INSIDE,
    "finetune.services.jobs.validation._overlap": INSIDE,
    "finetune.services.jobs.validation._parted": INSIDE,
    "privatune.portal.rooms.files.upload": WRITES,
    "tenants.services.files.delete_file": WRITES,
    "tenants.services.files.open_file": OWN,
    "tenants.services.idempotency._answer_of": AGAIN,
    "tenants.services.idempotency._sealed": WRITES,
    "tenants.services.sign_in._forget": WRITES,
    "tenants.services.sign_in.provider": INSIDE,  # the secret of its sign-in
    "tenants.services.sign_in.set_provider": WRITES,
    "tenants.services.uploads._drop_parts": WRITES,
}
# Who knows where weights lie.
WEIGHTS: dict[str, Right | str] = {
    "finetune.services.models.artifacts.delete_model": WRITES,
    "finetune.services.models.artifacts.load_adapter": Right.SERVE,
    "finetune.services.models.artifacts.open_bundle": Right.EXPORT,
    "finetune.services.forms.making._unpacked": WORKER,
    "finetune.services.runs.history.History": WORKER,
    "finetune.services.runs.publishing._commit": WORKER,
    "finetune.services.runs.publishing._drop_unless_published": WORKER,
    "finetune.services.runs.publishing._tidy": WORKER,
    "finetune.services.runs.publishing.publish": WORKER,
    "finetune.services.runs.starting._files": WORKER,
}
# Who speaks to the serving process.
MODELS: dict[str, Right | str] = {
    "finetune.services.jobs.preview._from_server": "has a row made tokens and runs nothing",
    "finetune.services.models.eviction.evict": "forgets",
    "finetune.services.models.eviction.reconcile": "looks and forgets",
    "finetune.services.models.gateway._permitted_or_evicted": "asks, and forgets",
    "finetune.services.models.gateway._provide": "puts in what load_adapter gave",
    "finetune.services.models.gateway._reserve": "counts tokens and runs nothing",
    "finetune.services.models.gateway._generate": Right.SERVE,
    "finetune.services.models.gateway._asked": Right.SERVE,
    "privatune.alone.engine.Engine": ALONE,
    "privatune.alone.engine.running": ALONE,
}
# Addresses that ask a model and answer with a figure, in no stream.
FIGURES = {
    "v1/fine_tuning/alpha/graders/run": Right.SERVE,
    "v1/embeddings": Right.SERVE,
    "v1/rerank": Right.SERVE,
}
# Addresses whose answer is a stream, which is how bytes and answers leave.
STREAMS: dict[str, Right | str] = {
    "v1/files/<str:file_id>/content": OWN,
    "v1/chat/completions": Right.SERVE,
    "v1/completions": Right.SERVE,
    "v1/responses": Right.SERVE,
    "api/v1/artifacts/<str:artifact_id>/content": Right.EXPORT,
    "api/v1/forms/<str:form_id>/content": Right.MERGE,
    "t/<slug:slug>/models/<model:artifact_id>/forms/<uuid:form_id>": Right.MERGE,
    "api/v1/datasets/<str:dataset_id>/errors": OWN,
    "api/v1/audit/export": OWN,
    "api/v1/profiles/<str:profile_id>/findings": OWN,
    "api/v1/evaluations/<str:evaluation_id>/items": OWN,
    "t/<slug:slug>/audit/export": OWN,
    "t/<slug:slug>/evaluations/<evaluation:evaluation_id>/items": OWN,
    "t/<slug:slug>/files/<file:file_id>/problems/<uuid:dataset_id>": OWN,
    "t/<slug:slug>/files/<file:file_id>/findings/<uuid:profile_id>": OWN,
    "t/<slug:slug>/jobs/<job:job_id>/stream": OWN,
    "t/<slug:slug>/models/<model:artifact_id>/download": Right.EXPORT,
    "t/<slug:slug>/models/<model:artifact_id>/chat": Right.SERVE,
}
# Addresses by which a tenant's bytes leave, and the entry that each leaves in its log.
ENTRIES = {
    "v1/files/<str:file_id>/content": "file.download",
    "v1/chat/completions": "model.ask",
    "v1/completions": "model.ask",
    "v1/responses": "model.ask",
    "v1/embeddings": "model.ask",
    "v1/rerank": "model.ask",
    "v1/fine_tuning/alpha/graders/run": "model.ask",
    "api/v1/artifacts/<str:artifact_id>/content": "artifact.download",
    "api/v1/forms/<str:form_id>/content": "form.download",
    "t/<slug:slug>/models/<model:artifact_id>/forms/<uuid:form_id>": "form.download",
    "api/v1/datasets": "report.list",
    "api/v1/datasets/<str:dataset_id>": "report.read",
    "api/v1/datasets/<str:dataset_id>/errors": "report.download",
    "api/v1/evaluations/<str:evaluation_id>": "evaluation.read",
    "api/v1/evaluations/<str:evaluation_id>/abilities": "evaluation.read",
    "api/v1/evaluations/<str:evaluation_id>/items": "evaluation.read",
    "v1/evals/<str:eval_id>/runs/<str:run_id>/output_items": "evaluation.read",
    "v1/evals/<str:eval_id>/runs/<str:run_id>/output_items/<str:item_id>": "evaluation.read",
    "api/v1/files/<str:file_id>/preview": "row.preview",
    "api/v1/jobs/<str:job_id>/samples": "sample.read",
    "api/v1/profiles/<str:profile_id>/findings": "profile.download",
    "api/v1/scrubs/<str:scrub_id>/changes": "scrub.read",
    "api/v1/audit/export": "audit.export",
    "t/<slug:slug>/audit/export": "audit.export",
    "t/<slug:slug>/evaluations/<evaluation:evaluation_id>/": "evaluation.read",
    "t/<slug:slug>/evaluations/<evaluation:evaluation_id>/items": "evaluation.read",
    "t/<slug:slug>/files/<file:file_id>/": "report.read",
    "t/<slug:slug>/files/<file:file_id>/preview": "row.preview",
    "t/<slug:slug>/files/<file:file_id>/findings/<uuid:profile_id>": "profile.download",
    "t/<slug:slug>/files/<file:file_id>/changes/<uuid:scrub_id>": "scrub.read",
    "t/<slug:slug>/files/<file:file_id>/problems/<uuid:dataset_id>": "report.download",
    "t/<slug:slug>/jobs/<job:job_id>/samples": "sample.read",
    "t/<slug:slug>/models/<model:artifact_id>/": "row.preview",
    "t/<slug:slug>/models/<model:artifact_id>/download": "artifact.download",
    "t/<slug:slug>/models/<model:artifact_id>/chat": "model.ask",
}
# What a model is asked with, beside its name.
ASKED: dict[str, dict[str, Any]] = {
    "v1/chat/completions": {"messages": [{"role": "user", "content": "hi"}]},
    "v1/completions": {"prompt": "hi"},
    "v1/responses": {"input": "hi"},
    "v1/embeddings": {"input": "hi"},
    "v1/rerank": {"query": "hi", "documents": ["ho"]},
    "v1/fine_tuning/alpha/graders/run": {"model_sample": "hi", "grader": {
        "type": "score_model", "name": "judge", "model": "?",
        "input": [{"role": "user", "content": "hi"}],
    }},
}  # fmt: skip
QUERIES = {address: "?model=shelf" for address in ENTRIES if address.endswith("/preview")}
# What gives a tenant's bytes to a caller; what loads weights into serving gives them to none.
GIVING = (OWN, Right.EXPORT, Right.MERGE, Right.TRAIN)
GIVERS = {name for name, kind in VAULTS.items() if kind in GIVING} | {
    "finetune.services.jobs.samples.samples_of",  # with the right to ask the model, as answers are
    "finetune.services.models.gateway._reserve",  # without what it gives nothing is generated
    "finetune.services.trail.export",
}


def test_nobody_opens_a_vault_but_by_the_table() -> None:
    opened = users_of(
        graph(),
        "tenants.services.vaults.open_vault",
        "tenants.services.vaults.vault_for",
        "finetune.services.files.intake.vault_of",
    )
    assert opened - {"finetune.services.files.intake.vault_of"} == set(VAULTS)


def test_nobody_knows_where_weights_lie_but_by_the_table() -> None:
    names = "artifact_prefix", "checkpoint_prefix", "run_prefix"
    known = users_of(
        graph(),
        "?.bundle_object",
        "?.adapter_object",
        *(f"finetune.storage.{name}" for name in names),
    )
    ours = {"finetune.storage.checkpoint_prefix", "finetune.storage.sample_object"}
    assert known - ours == set(WEIGHTS)


def test_nobody_speaks_to_the_serving_process_but_by_the_table() -> None:
    assert users_of(graph(), "finetune.serving.client.ServingClient") == set(MODELS)


def test_each_door_with_a_right_asks_for_it_itself() -> None:
    asked = "tenants.services.licences.require_license"
    for name, right in (VAULTS | WEIGHTS).items():
        if isinstance(right, Right):
            assert {asked, f"tenants.rights.Right.{right.name}"} <= graph()[name], name
    for chain in (
        ("generate", "_generate", "_permitted"),
        ("embed", "_replied", "_asked", "_permitted"),
        ("score", "_replied", "_asked", "_permitted"),
    ):
        names = [f"finetune.services.models.gateway.{each}" for each in chain]
        for name, called in pairwise(names):
            assert called in graph()[name], name
    assert (
        "finetune.services.models.gateway._require_same"
        in graph()["finetune.services.models.gateway._permitted"]
    )
    assert (
        "finetune.services.models.gateway.resolve"
        in graph()["finetune.services.models.gateway._require_same"]
    )
    assert asked in graph()["finetune.services.models.gateway.resolve"]


def test_whatever_gives_bytes_to_a_caller_writes_an_entry_itself() -> None:
    written = {f"tenants.services.audit.{name}" for name in ("note", "record")}
    assert [name for name in sorted(GIVERS) if not graph()[name] & written] == []
    makers = users_of(graph(), "finetune.services.models.tokens.reserve")
    assert makers == {"finetune.services.models.gateway._reserve"}


def test_training_runs_by_its_claim_alone() -> None:
    kind = "finetune.services.runs.training.Training"  # its `on_claim` asks, its `run` trains
    assert {
        "tenants.services.licences.require_license",
        "tenants.rights.Right.TRAIN",
    } <= graph()[kind]
    assert users_of(graph(), "finetune.services.runs.attempt.work") == {kind}
    trainer = users_of(graph(), "finetune.work.launcher.launch_trainer")
    assert trainer == {
        "finetune.services.runs.attempt._work",  # handed the lease that was claimed
        "privatune.demo.probe.training_speed",  # the demo's own rows, before there is a tenant
    }


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
        graph(),
        "django.http.StreamingHttpResponse",
        "django.http.FileResponse",
        "django.http.response.StreamingHttpResponse",
        "django.http.response.FileResponse",
    )
    assert {address for address, name in routes() if name in streaming} == set(STREAMS)


def test_every_address_by_which_weights_leave_or_a_model_runs_says_so_in_the_table() -> None:
    doors = {
        Right.EXPORT: ["finetune.services.models.artifacts.open_bundle"],
        Right.MERGE: ["finetune.services.forms.leaving.open_form"],
        Right.SERVE: [f"finetune.services.models.gateway.{n}" for n in ("generate", "embed")],
    }
    for right, services in doors.items():
        through = {address for address, name in routes() if name in reaching(graph(), *services)}
        table = STREAMS | FIGURES
        assert through == {address for address, needed in table.items() if needed == right}


def test_every_address_by_which_a_tenants_bytes_leave_is_in_the_table_of_entries() -> None:
    giving = reaching(graph(), *GIVERS)
    assert {address for address, name in routes() if name in giving} == set(ENTRIES)
    figures = {"t/<slug:slug>/jobs/<job:job_id>/stream"}  # a job's course, no bytes of anybody's
    assert set(STREAMS) - set(ENTRIES) == figures


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
        problem = {"level": "error", "line": 1, "field": None, "code": "invalid_json"}
        problem |= {"message": "Not JSON.", "fix": None}
        row = json.dumps(problem).encode() + b"\n"
        listed = keep(vault=open_vault(), pieces=[row], limit=1000)
        row = b'{"messages": [{"role": "system", "content": "a"}]}'
        rows = keep(vault=open_vault(), pieces=[row], limit=100)
        job.training_data = Dataset.objects.create(
            file=file, state="ready", report={}, errors_object=listed.object_name, format="text",
            rows=1, rows_object=rows.object_name, rows_sha256=rows.sha256,
        )  # fmt: skip
        found = keep(vault=open_vault(), pieces=[b'{"row": 1, "masked": {}}'], limit=100)
        named = {"file": file, "findings_object": found.object_name, "state": "succeeded"}
        tagged = keep(vault=open_vault(), pieces=[b"{}"], limit=100)
        Profile.objects.create(**named, tags_object=tagged.object_name)
        Scrub.objects.create(**named, result=file, rows_sha256=rows.sha256)
        job.save()
        part, tags = (
            keep(vault=open_vault(), pieces=[piece], limit=1000) for piece in (ITEM, b"{}")
        )
        Evaluation.objects.create(
            suite=Suite.objects.create(), file=file, base=base, model="shelf", digest="d",
            requested={"model": "shelf"}, tags_object=tags.object_name, state="succeeded",
            parts=[{"name": part.object_name, "rows": 1, "bytes": part.bytes}],
        )  # fmt: skip
    give_result(customer, job.public_id)
    give_samples(customer, job.public_id, 1)
    with tenant_scope(customer.tenant_id):
        artifact = Artifact.objects.select_related("base", "job").get()
        tar = open_vault().put_bytes("forms/tar", b"a tar")
        Form.objects.create(
            artifact=artifact, form="merged", state="succeeded", object_name="forms/tar",
            bytes=tar.plaintext_bytes, sha256=tar.sha256,
            granted=terms_of(License.objects.get()),
        )  # fmt: skip
        return artifact


def revoke(customer: Customer) -> None:
    with tenant_scope(customer.tenant_id):
        licence = License.objects.get()
    change_license(
        tenant_id=customer.tenant_id,
        license_id=licence.id,
        actor="operator",
        state=LicenseState.REVOKED,
    )


LEAVING = set(ENTRIES.values())
EACH_TIME = {"artifact.download", "audit.export", "form.download"}


def entries_of(customer: Customer) -> list[tuple[Any, ...]]:
    """(action, kind, person, address) of the tenant's whole log."""
    with tenant_scope(customer.tenant_id):
        found = AuditEntry.objects.order_by("seq")
        return list(found.values_list("action", "kind", "user_id", "data__address"))


def knock(customer: Customer, artifact: Artifact, address: str, person: User | None = None) -> Any:
    """Asks at the address as somebody who may, were it not for the licence."""
    client = Client(raise_request_exception=False)
    path = "/" + address.replace("<slug:slug>", customer.slug)
    path = path.replace("<model:artifact_id>", str(artifact.id))
    path = path.replace("<str:artifact_id>", artifact.public_id)
    with tenant_scope(customer.tenant_id):
        reading = Dataset.objects.select_related("file").get()
        evaluation = Evaluation.objects.select_related("suite").get()
        profile, scrub, form = Profile.objects.get(), Scrub.objects.get(), Form.objects.get()
    path = path.replace("<uuid:form_id>", str(form.id))
    path = path.replace("<str:form_id>", form.public_id)
    path = path.replace("<uuid:profile_id>", str(profile.id))
    path = path.replace("<uuid:scrub_id>", str(scrub.id))
    path = path.replace("<str:profile_id>", profile.public_id)
    path = path.replace("<str:scrub_id>", scrub.public_id)
    path = path.replace("<evaluation:evaluation_id>", str(evaluation.id))
    path = path.replace("<str:evaluation_id>", evaluation.public_id)
    path = path.replace("<str:eval_id>", evaluation.suite.public_id)
    path = path.replace("<str:run_id>", evaluation.public_id)
    path = path.replace("<str:item_id>", f"outputitem_{evaluation.id.hex}_0")
    path = path.replace("<file:file_id>", str(reading.file.id))
    path = path.replace("<str:file_id>", reading.file.public_id)
    path = path.replace("<uuid:dataset_id>", str(reading.id))
    path = path.replace("<str:dataset_id>", reading.public_id)
    path = path.replace("<str:job_id>", artifact.job.public_id)
    path = path.replace("<job:job_id>", str(artifact.job.id))
    assert not re.search("<.*>", path)
    path += QUERIES.get(address, "")
    if address.startswith("t/"):
        client.force_login(person or member(customer))
        return client.post(path, {"prompt": "hi"}) if path.endswith("chat") else client.get(path)
    headers = {"Authorization": f"Bearer {customer.key}"}
    if address not in ASKED:
        return client.get(path, headers=headers)
    body = _asked_of(artifact.model_name, ASKED[address])
    return client.post(path, body, content_type="application/json", headers=headers)


def _asked_of(model: str, body: dict[str, Any]) -> dict[str, Any]:
    if "grader" in body:
        return body | {"grader": body["grader"] | {"model": model}}
    return body | {"model": model}


@pytest.mark.parametrize("address", ENTRIES)
def test_each_door_leaves_an_entry_and_a_program_that_asks_on_leaves_no_thousand(
    customer: Customer, artifact: Artifact, one_hour: None, address: str
) -> None:
    person, before = member(customer), entries_of(customer)
    for _ in range(3):
        answer = knock(customer, artifact, address, person)
        if address.endswith("chat"):
            assert b"model server" in b"".join(answer)  # it is asked, though nothing serves here
    left = [each for each in entries_of(customer)[len(before) :] if each[0] in LEAVING]
    by = ("person", person.pk) if address.startswith("t/") else ("key", None)
    expected = (ENTRIES[address], *by, "127.0.0.1")
    assert left == [expected] * (3 if ENTRIES[address] in EACH_TIME else 1)


def test_downloads_side_by_side_leave_one_entry_and_those_of_the_next_hour_another(
    committed: None, one_hour: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    customer = new_customer()
    who = Actor.operator("staff")
    start = threading.Barrier(8)

    def look(_: int) -> None:
        start.wait()
        try:
            note_read(tenant_id=customer.tenant_id, actor=who, page="job")
        finally:
            connection.close()

    def all_at_once() -> int:
        with ThreadPoolExecutor(8) as threads:
            list(threads.map(look, range(8)))
        return sum(each[0] == "operator.read" for each in entries_of(customer))

    assert all_at_once() == 1
    later = timezone.now() + timedelta(hours=1)
    monkeypatch.setattr("django.utils.timezone.now", lambda: later)
    assert all_at_once() == 2


EXPORTING = [address for address, right in STREAMS.items() if right == Right.EXPORT]
LICENSED = [a for a, right in (STREAMS | FIGURES).items() if isinstance(right, Right)]


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
    page = address.startswith("t/")
    said = b"licence for this model does not allow this" if page else b"your licence is revoked"
    assert said in refused.content


def test_the_services_themselves_refuse_without_the_licence(
    customer: Customer, artifact: Artifact
) -> None:
    revoke(customer)
    with tenant_scope(customer.tenant_id):
        with pytest.raises(Refused, match="is revoked"):
            artifacts.open_bundle(artifact=artifact, by=somebody(customer.tenant_id))
        with pytest.raises(Refused, match="is revoked"):
            artifacts.load_adapter(artifact=artifact, by=somebody(customer.tenant_id))


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
    page = address.startswith("t/")
    assert (b"stored bytes are missing" if page else b"no object") in response.content
