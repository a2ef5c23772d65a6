"""Every page that a person can see, rendered: of the portal, the accounts and the operator's rooms,
and what is answered when something goes wrong. Found by walking the addresses, so that a new page
is among them by itself, and an address that is no page has to be named."""

import json
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psycopg
import pytest
from allauth.account.forms import default_token_generator
from allauth.account.utils import user_pk_to_url_str
from allauth.mfa.models import Authenticator
from django.contrib import admin
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.urls import reverse

from finetune.events import LossAtChance
from finetune.grading.learning import Point, learning_curve, told
from finetune.grading.retrieval import MEASURES
from finetune.models import (
    Artifact,
    CatalogModel,
    Dataset,
    Evaluation,
    Event,
    Job,
    Mining,
    Pipeline,
    Profile,
    Scrub,
    Stage,
    Suite,
)
from finetune.states import JobState
from privatune.people.urls import urlpatterns as accounts
from privatune.portal.urls import rooms
from privatune.portal.urls import urlpatterns as outside
from tenants.database.scope import tenant_scope
from tenants.models import License, StoredFile
from tenants.rights import Right
from tenants.roles import Role
from tenants.services import proofs
from tenants.services.invitations import invite
from tenants.services.licences import issue_license
from tenants.services.tenants import add_member
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import chat_rows, new_customer, principal_of, shelve
from tests.finetune.api.rows import give_result, give_samples
from tests.fixtures.people import browser_of, new_person, sign_in

# Addresses that answer with no page: acts, downloads, streams, what is asked by scripts.
NO_PAGES = {
    "upload", "file-delete", "file-problems", "file-columns", "file-profile", "file-scrub",
    "file-mine", "file-mining-cancel",
    "file-findings", "job-curve", "job-stream",
    "pipeline-cancel", "pipeline-pause", "pipeline-resume", "pipeline-approve", "pipeline-retry",
    "evaluation-items", "evaluation-cancel", "evaluation-delete", "model-release",
    "model-form-ask", "model-form", "model-form-cancel", "model-form-delete",
    "job-cancel", "job-pause", "job-resume", "model-download", "model-chat", "audit-export",
    "account_logout", "account_oidc_start", "account_oidc_callback", "account_end_other_sessions",
    "account_end_session", "mfa_generate_recovery_codes", "mfa_download_recovery_codes",
    "mfa_reauthenticate", "mfa_reauthenticate_webauthn", "mfa_add_webauthn",
}  # fmt: skip
BAD = (
    b'{"messages": [{"role": "user", "content": "a"}], "note": 1}\n'
    b'{"messages": [{"role": "user", "content": ""}, {"role": "assistant", "content": "b"}]}\n'
)


CURVE = told(learning_curve([Point(n, 1 + 0.5 * n**-0.3) for n in (150, 300, 600, 1200, 2400)]))


@dataclass(frozen=True)
class Page:
    name: str
    address: str
    html: str


class Scene:
    """One organisation with a job in each state that looks different, a person who sees all."""

    def __init__(self) -> None:
        shelve()
        self.customer = new_customer(models=["shelf"], name="Acme 工厂")
        self.user = new_person(is_staff=True, is_superuser=True)
        add_member(tenant_id=self.customer.tenant_id, user=self.user, role=Role.OWNER, actor="test")
        self.client = browser_of(self.user, second_factor=True)
        self.file = self._upload("bad.jsonl", BAD)
        self.good = self._upload("good.jsonl", chat_rows())
        self.customer.check_files()
        with tenant_scope(self.customer.tenant_id):
            by = principal_of(self.user, self.customer)
            _, self.token = invite(by=by, email="new@acme.example", role=Role.VIEWER)
            self.running, self.done, self.failed = self._jobs()
        give_result(self.customer, self.done.public_id)
        told = {"scores": {"place": 0.5}, "reasoning": "so", "truncated": True, "shortened": True}
        failed = {"grader_errors": {"other_error": "no number"}, "tool_calls": [{"id": "c"}]}
        give_samples(self.customer, self.running.public_id, 1)
        give_samples(self.customer, self.running.public_id, 2, "a", "b", **told, **failed)
        with tenant_scope(self.customer.tenant_id):
            warned = LossAtChance(end_loss=10.8, guessing_loss=10.8).entry()
            losses = {"base_valid_loss": 2.0, "valid_loss": 2.5, "steps": 3, "trained_tokens": 9}
            losses |= {"valid_rows": 4, "valid_rows_in_training": 1}
            found = {"base": 0.527, "base_interval": [0.478, 0.575], "tuned": 0.886}
            found |= {"tuned_interval": [0.858, 0.913], "difference": 0.36}
            found |= {"interval": [0.312, 0.408], "p_value": 0.0001}
            losses["retrieval"] = {
                "queries": 200,
                "documents": 38,
                "measures": dict.fromkeys(MEASURES, found),
            }
            losses["learning_curve"] = CURVE
            Artifact.objects.update(report={"warnings": [warned]} | losses)
            self.artifact = Artifact.objects.get()
            self.evaluation = self._evaluation()
            self.pipeline = self._pipeline()
            self._profiles()
        self._to_approve()
        self._minings()

    def _upload(self, name: str, content: bytes) -> uuid.UUID:
        sent = {"file": SimpleUploadedFile(name, content)}
        self.client.post(f"/t/{self.customer.slug}/files/upload", sent)
        with tenant_scope(self.customer.tenant_id):
            return StoredFile.objects.get(filename=name).id

    def _jobs(self) -> tuple[Job, Job, Job]:
        base, licence = CatalogModel.objects.get(name="shelf"), License.objects.get()
        file = StoredFile.objects.get(id=self.good)
        made = tuple(
            Job.objects.create(base=base, license=licence, training_file=file) for _ in range(3)
        )
        running, done, failed = made
        figures = {"step": 2, "total_steps": 30, "train_loss": 4.9, "seconds_left": 2122.4}
        Event.objects.create(
            job=running, seq=9, type="metrics", code="step_done", message="step 2", data=figures
        )
        Job.objects.filter(id=running.id).update(state=JobState.RUNNING, total_steps=30)
        error = {"code": "training_diverged", "message": "It diverged.", "where": "step 2"}
        Job.objects.filter(id=failed.id).update(state=JobState.FAILED, error=error)
        return running, done, failed

    def _pipeline(self) -> Pipeline:
        """One that failed by its second stage."""
        base, licence = CatalogModel.objects.get(name="shelf"), License.objects.get()
        error = {"code": "stage_failed", "message": "It broke.", "where": "line 3"}
        pipeline = Pipeline.objects.create(
            base=base, license=licence, model="shelf", total=2, state="failed", error=error
        )
        for number, job in ((1, self.done), (2, self.failed)):
            Stage.objects.create(
                pipeline=pipeline, number=number, training_file_id=self.good, seed=1, job=job,
                gate="approval" if number == 1 else "none", request={"method": "supervised"},
            )  # fmt: skip
        return pipeline

    def _to_approve(self) -> None:
        """A pipeline that waits for somebody's yes to its first stage."""
        with tenant_scope(self.customer.tenant_id):
            base, licence = CatalogModel.objects.get(name="shelf"), License.objects.get()
            file = StoredFile.objects.get(id=self.good)
            job = Job.objects.create(base=base, license=licence, training_file=file)
            pipeline = Pipeline.objects.create(base=base, license=licence, model="shelf", total=2)
            told = {"number": 1, "of": 2, "pipeline": pipeline.public_id}
            for number in (1, 2):
                Stage.objects.create(
                    pipeline=pipeline, number=number, training_file=file, seed=1,
                    job=job if number == 1 else None, gate="approval" if number == 1 else "none",
                    request={"model": "shelf", "training_file": str(file.id)},
                )  # fmt: skip
            Event.objects.create(job=job, seq=1, code="stage_of_pipeline", message="1", data=told)
        give_result(self.customer, job.public_id)
        self.to_approve, self.approved_next = pipeline, job

    def _evaluation(self) -> Evaluation:
        """One that has ended, with a verdict, a tag and an answer."""
        told = {"rows": 40, "score": 0.5, "interval": [0.4, 0.6], "passed": 20, "errored": 1}
        change = {"difference": 0.2, "interval": [0.1, 0.3], "p_value": 0.01}
        item = {
            "row": 1, "tags": ["lamps"], "item": {"reference": "on"},
            "input": [{"role": "user", "content": "lamp?"}],
            "sides": {"model": {"answer": "on", "error": None, "passed": True, "errored": False}},
        }  # fmt: skip
        vault = open_vault()
        vault.put_bytes("evaluations/items", json.dumps(item).encode() + b"\n")
        vault.put_bytes("evaluations/tags", json.dumps({"model": {"lamps": told}}).encode())
        made = {
            "file_id": self.good, "model": self.artifact.model_name, "base": self.artifact.base,
            "artifact": self.artifact, "requested": {"model": "x"}, "digest": "d",
            "marks": {"model": [0.0, 1.0]}, "state": "succeeded", "tags_object": "evaluations/tags",
            "parts": [{"name": "evaluations/items", "rows": 1, "bytes": 9}],
            "done": 80, "total": 80,
            "report": {
                "sides": {"base": told, "model": told}, "changes": {"base": change},
                "advice": {
                    "decision": "deploy", "reason": "better_than_base", "learning_curve": CURVE,
                },
            },
        }  # fmt: skip
        suite = Suite.objects.create(name="exact")
        Evaluation.objects.create(suite=suite, **made)
        waits = {"state": "waiting", "report": None, "parts": [], "tags_object": ""}
        Evaluation.objects.create(suite=suite, **made | waits)
        return Evaluation.objects.create(suite=suite, **made)

    def _profiles(self) -> None:
        """Of the good file: seen through, alone and beside the other, and scrubbed."""
        places = {"email": {"rows": 1, "places": 2}, "password": {"rows": 1, "places": 1}}
        figures = {
            "rows": 1234, "compared": 1000, "equal": 3, "near": 1, "findings": 9, "listed": 8,
            "lengths": [{"up_to": 16, "rows": 900}, {"up_to": 32, "rows": 334}],
            "scripts": {"han": 1000, "latin": 200, "mixed": 34}, "personal": places,
        }  # fmt: skip
        held_out = {"rows": 9, "equal": 1, "near": 1, "rows_here": 2}
        vault = open_vault()
        vault.put_bytes(
            "profiles/found", b'{"row": 1, "masked": {"messages[0].content": [[0, 3, "email"]]}}'
        )
        named = {"file_id": self.good, "findings_object": "profiles/found", "state": "succeeded"}
        Profile.objects.create(**named, report=figures | {"held_out": None})
        Profile.objects.create(
            **named, against_id=self.file, report=figures | {"held_out": held_out}
        )
        rows = Dataset.objects.get(file_id=self.good, base=None).rows_sha256
        report = {"rows": 4, "changed": 1, "masked": places}
        self.scrub_of_good = Scrub.objects.create(
            **named, result_id=self.file, rows_sha256=rows, report=report
        )
        error = {"code": "limit_memory", "message": "Too much.", "fix": None}
        self.scrub = Scrub.objects.create(file_id=self.file, state="failed", error=error)

    def _minings(self) -> None:
        """Of a file of pairs: done, under way, refused and stopped, by a model of vectors."""
        shelve("vectors")
        CatalogModel.objects.filter(name="vectors").update(family="embedding")
        issue_license(
            tenant_id=self.customer.tenant_id, model="vectors", rights=frozenset(Right), actor="t"
        )
        self.pairs = self._upload("pairs.jsonl", b'{"query": "a?", "positive": "a."}\n')
        self._upload("texts.jsonl", b'{"text": "far"}\n')
        self.customer.check_files()
        report = {
            "rows": 1234, "queries": 1200, "documents": 1300, "negatives": 3300,
            "rows_by_negatives": {"0": 34, "2": 300, "3": 900},
            "skipped": {"relative_margin": 4321, "max_score": 21, "min_score": 7},
        }  # fmt: skip
        error = {"code": "text_too_long", "message": "Too long.", "where": "row 4", "fix": None}
        named = {"file_id": self.pairs, "model": "vectors"}
        with tenant_scope(self.customer.tenant_id):
            Mining.objects.create(
                **named, state="succeeded", result_id=self.good, report=report, done=9, total=9
            )
            Mining.objects.create(**named, state="failed", error=error)
            Mining.objects.create(**named, state="cancelled")
            Mining.objects.create(**named, state="waiting", done=1200, total=2500)

    def rooms(self) -> Iterator[tuple[str, str]]:
        ids: dict[str, Any] = {
            "file_id": self.file, "job_id": self.running.id, "artifact_id": self.artifact.id,
            "pipeline_id": self.pipeline.id,
            "evaluation_id": self.evaluation.id, "scrub_id": self.scrub.id,
        }  # fmt: skip
        for each in rooms:
            if each.name not in NO_PAGES:
                wanted = {name: ids[name] for name in each.pattern.converters if name in ids}
                yield (
                    each.name,
                    reverse(f"portal:{each.name}", args=(self.customer.slug, *wanted.values())),
                )
        at = reverse("portal:pipeline", args=(self.customer.slug, self.to_approve.id))
        yield "pipeline-to-approve", at
        for job in (self.done, self.failed, self.approved_next):
            yield f"job-{job.id}", reverse("portal:job", args=(self.customer.slug, job.id))
        good = reverse("portal:file", args=(self.customer.slug, self.good))
        yield "file-good", good
        yield "file-pairs", reverse("portal:file", args=(self.customer.slug, self.pairs))
        yield "file-changes-good", f"{good}changes/{self.scrub_of_good.id}"
        yield (
            "job-new-of-file",
            reverse("portal:job-new", args=(self.customer.slug,)) + f"?file={self.good}",
        )

    def accounts(self) -> Iterator[tuple[str, str]]:
        """For whoever is signed in; then as at the door."""
        key = Authenticator.objects.create(
            user=self.user, type="webauthn", data={"name": "key", "credential": {}}
        )
        ids = {
            "mfa_edit_webauthn": [key.pk], "mfa_remove_webauthn": [key.pk],
            "account_reset_password_from_key": [
                user_pk_to_url_str(self.user), default_token_generator.make_token(self.user)
            ],
        }  # fmt: skip
        for each in accounts:
            if each.name not in NO_PAGES | {"mfa_authenticate", "mfa_activate_totp"}:
                yield each.name, reverse(each.name, args=ids.get(each.name, []))


def every_page(language: str, monkeypatch: pytest.MonkeyPatch) -> list[Page]:
    scene = Scene()
    scene.client.cookies["django_language"] = language
    found = [_page(scene.client, name, address) for name, address in scene.rooms()]
    stranger, plain = Client(), browser_of(new_person())
    half = Client()
    sign_in(half, scene.user.email)
    for client in (stranger, plain, half):
        client.cookies["django_language"] = language
    found += [_page(half, "mfa_authenticate", "/accounts/2fa/authenticate/")]
    for name, address in scene.accounts():
        door = name in {"account_login", "account_oidc"} or "reset_password" in name
        found.append(_page(stranger if door else scene.client, name, address))
    found.append(_page(plain, "mfa_activate_totp", "/accounts/2fa/totp/activate/"))
    found += list(_outside(scene, plain, stranger))
    if language == "en":  # Django's own texts, and no pages for a telephone
        found += list(_operators(scene))
    found += list(_refusals(scene, stranger, monkeypatch))
    return found


def _outside(scene: Scene, plain: Client, stranger: Client) -> Iterator[Page]:
    assert {each.name for each in outside if hasattr(each, "name")} == {
        "organisations",
        "invitation",
    }
    yield _page(stranger, "invitation", f"/invitation/{scene.token}")
    yield _page(stranger, "invitation-ended", "/invitation/nothing", 404)
    yield _page(plain, "no-organisation", "/", 403)
    other = new_customer(name="Other")
    add_member(tenant_id=other.tenant_id, user=scene.user, role=Role.VIEWER, actor="test")
    yield _page(scene.client, "organisations", "/")


def _operators(scene: Scene) -> Iterator[Page]:
    yield _page(scene.client, "operator", "/operator/")
    for model in admin.site._registry:
        at = f"/operator/{model._meta.app_label}/{model._meta.model_name}/"
        yield _page(scene.client, at, at)


def _refusals(scene: Scene, stranger: Client, monkeypatch: pytest.MonkeyPatch) -> Iterator[Page]:
    strict = Client(enforce_csrf_checks=True, raise_request_exception=False)
    strict.cookies = stranger.cookies
    yield _page(stranger, "404", "/nothing", 404)
    audit = f"/t/{scene.customer.slug}/audit/?first=x"
    yield _page(scene.client, "audit-of-no-day", audit, 400)
    wrong = {"login": "nobody@acme.example", "password": "wrong"}
    yield Page("login-wrong", "/accounts/login/", _html(stranger.post("/accounts/login/", wrong)))
    yield Page("csrf", "/accounts/login/", _html(strict.post("/accounts/login/", wrong), 403))
    host = strict.get("/accounts/login/", headers={"host": "evil.example"})
    yield Page("400", "/accounts/login/", _html(host, 400))
    once = proofs.Limit(1, proofs.PASSWORD.place.window)
    with monkeypatch.context() as patch:
        patch.setattr(proofs, "PASSWORD", proofs.Limits(once, once))
        locked = stranger.post("/accounts/login/", wrong)
    yield Page("locked-out", "/accounts/login/", _html(locked))
    scene.client.raise_request_exception = False
    for error, status in ((ZeroDivisionError(), 500), (psycopg.OperationalError("down"), 503)):

        def broken(error: Exception = error) -> None:
            raise error

        with monkeypatch.context() as patch:
            patch.setattr("privatune.portal.rooms.home.selectors.jobs", broken)
            yield _page(scene.client, str(status), f"/t/{scene.customer.slug}/", status)


def _page(client: Client, name: str, address: str, status: int = 200) -> Page:
    answer = client.get(address, follow=status == 200)
    return Page(name, address, _html(answer, status))


def _html(answer: Any, status: int = 200) -> str:
    assert answer.status_code == status, (answer.request["PATH_INFO"], answer.content[:300])
    assert answer["Content-Type"].startswith("text/html")
    return str(answer.content.decode())
