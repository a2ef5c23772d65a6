"""Training on from a model: the model's page says what came before, the form goes on with it."""

from pathlib import Path

import pytest
from django.test import Client

from finetune.models import Artifact, Form, Job
from privatune.portal.outcome import outcome
from tenants.database.scope import tenant_scope
from tenants.models import License
from tenants.rights import Right
from tenants.roles import Role
from tenants.services.licences import terms_of
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer
from tests.finetune.services.jobs.test_starting import ADAPTER, made
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def customer_of(bench: Bench) -> Customer:
    return Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")


def second_of(bench: Bench, first: Artifact) -> Artifact:
    second = made(bench)
    with tenant_scope(bench.tenant.id):
        start = {"model": first.model_name, "step": 3, "adapter_sha256": "a" * 64}
        Job.objects.filter(id=second.job_id).update(parent=first, start=start, method="dpo")
        Artifact.objects.filter(id=second.id).update(
            report={"steps": 3, "start_valid_loss": 0.6931, "valid_loss": 0.5}
        )
        Artifact.objects.filter(id=first.id).update(
            report={"steps": 3, "base_valid_loss": 2.5, "valid_loss": 1.25}
        )
    return second


def test_the_page_of_a_model_made_in_stages_tells_each_with_its_losses(bench: Bench) -> None:
    first = made(bench)
    second = second_of(bench, first)
    customer = customer_of(bench)
    browser = browser_of(member(customer))
    page = browser.get(f"/t/{customer.slug}/models/{second.id}/").content.decode()
    assert "Made in stages" in page
    assert f'href="/t/{customer.slug}/models/{first.id}/">{first.model_name}</a>' in page
    assert "checkpoint of step 3" in page
    assert "Preferences: favour the better of two answers (DPO)" in page
    for loss in ("2.500", "1.250", "0.693", "0.500"):
        assert f"<td>{loss}</td>" in page
    assert "27.9% lower: better" in page
    alone = browser.get(f"/t/{customer.slug}/models/{first.id}/").content.decode()
    assert "Made in stages" not in alone
    assert f'href="/t/{customer.slug}/models/{first.id}/download"' in alone
    reader = browser_of(member(customer, role=Role.VIEWER))
    seen = reader.get(f"/t/{customer.slug}/models/{first.id}/").content.decode()
    assert "/download" not in seen, "a viewer would be refused there"
    _check_its_merged_form(bench, browser, first)


def _check_its_merged_form(bench: Bench, browser: Client, model: Artifact) -> None:
    """Asked for, stopped, made and deleted on the model's page, by who may have the base."""
    at = f"/t/{bench.tenant.slug}/models/{model.id}/"

    def section() -> str:
        page = browser.get(at).content.decode()
        return page.partition('id="forms"')[2].partition("</section>")[0]

    assert "Have it made" not in section()
    assert 'id="forms-refused"' in section()
    with tenant_scope(bench.tenant.id):
        License.objects.update(rights=list(Right))
    assert "Have it made" in section()
    for option in ("merged", "gguf-f16", "gguf-q8_0", "gguf-q4_k_m"):
        assert f'<option value="{option}">' in section()
    browser.post(f"{at}forms", {"form": "onnx"})
    browser.post(f"{at}forms", {"form": "gguf-q8_0"})
    assert "waiting for its turn" in section()
    with tenant_scope(bench.tenant.id):
        form = Form.objects.get()
    browser.post(f"{at}forms/{form.id}/cancel")
    assert "cancelled" in section()
    assert "Have it made" in section()
    with tenant_scope(bench.tenant.id):
        why = {"code": "form_rounded_away", "message": "Too much is lost.", "fix": None}
        Form.objects.update(state="failed", error=why)
    assert "lose too much of what was trained" in section()
    with tenant_scope(bench.tenant.id):
        tar = open_vault().put_bytes("forms/tar", b"0123456789")
        Form.objects.update(
            state="succeeded",
            object_name="forms/tar",
            error=None,
            bytes=10,
            sha256=tar.sha256,
            granted=terms_of(License.objects.get()),
            info={"evaluation": {"perplexity": 12.5, "original": 12.25}},
        )
    assert f'href="{at}forms/{form.id}"' in section()
    assert "GGUF in 8 bits" in section()
    assert '<option value="gguf-q8_0">' not in section()
    assert "perplexity 12.500, of the model itself 12.250" in section()
    for asked, status, got in (
        ("", 200, b"0123456789"),
        ("bytes=3-", 206, b"3456789"),
        ("bytes=3-4", 206, b"34"),
        ("bytes=-2", 206, b"89"),
        ("bytes=0-0,4-5", 200, b"0123456789"),
    ):
        answer = browser.get(f"{at}forms/{form.id}", headers={"range": asked} if asked else {})
        assert (answer.status_code, b"".join(answer)) == (status, got), asked
        assert answer["ETag"] == f'"{tar.sha256}"'
    headers = {"range": "bytes=3-", "if-range": '"of something else"'}
    assert browser.get(f"{at}forms/{form.id}", headers=headers).status_code == 200
    beyond = browser.get(f"{at}forms/{form.id}", headers={"range": "bytes=10-"})
    assert (beyond.status_code, beyond.streaming) == (416, False)
    browser.post(f"{at}forms/{form.id}/delete")
    with tenant_scope(bench.tenant.id):
        assert not Form.objects.exists()


def test_a_preset_goes_on_with_the_models_own_adapter(bench: Bench) -> None:
    model, customer = made(bench), customer_of(bench)
    file = bench.add_file(jsonl(chat_rows(12)))
    browser = browser_of(member(customer))
    address = f"/t/{customer.slug}/jobs/new?model={model.model_name}"
    assert f'value="{model.model_name}" selected' in browser.get(address).content.decode()
    form = {"model": model.model_name, "training_file": str(file.id), "preset": "balanced"}
    assert browser.post(address, form).status_code == 302
    with tenant_scope(bench.tenant.id):
        job = Job.objects.get(parent=model)
    assert job.requested["adapter"] == ADAPTER


def test_a_loss_as_before_is_told_of_what_training_went_on_from() -> None:
    found = outcome({"start_valid_loss": 2.0, "valid_loss": 2.0004})
    assert found is not None
    assert found.words == "as before"
