"""What is told of a file that is still needed, of keys, and of models that are withheld."""

from pathlib import Path
from typing import Any

import pytest

from finetune.models import Artifact, Evaluation, Suite
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.roles import Scope
from tests.finetune.api.customers import Customer
from tests.finetune.api.rows import give_result
from tests.finetune.services.pipelines.test_pipelines import advance, ask
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db


@pytest.fixture
def bench(tiny_base: Path) -> Bench:
    return new_bench(tiny_base)


def browse(bench: Bench) -> tuple[Any, str]:
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    return browser_of(member(customer)), f"/t/{customer.slug}/"


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_what_still_needs_a_file_is_named_with_its_address(bench: Bench, language: str) -> None:
    browser, at = browse(bench)
    file = bench.add_file(jsonl(chat_rows(4)))
    job = bench.create(file=file, suffix="kitchen")
    pipeline = ask(bench, "none", "none", name="house style")
    advance(bench, pipeline)
    asked = bench.add_file(jsonl(chat_rows(4)))
    with tenant_scope(bench.tenant.id):
        waits = pipeline.stages.get(number=2).training_file
        evaluation = Evaluation.objects.create(
            suite=Suite.objects.create(), file_id=asked.id, base=bench.base, model="tiny",
            digest="d", requested={"model": "tiny"}, name="towns",
        )  # fmt: skip
    said = {"en": "still needs this file", "zh-hans": "需要此文件"}[language]
    for needed, link in (
        (file, f'<a href="{at}jobs/{job.id}/">kitchen</a>'),
        (waits, f'<a href="{at}pipelines/{pipeline.id}/">house style</a>'),
        (asked, f'<a href="{at}evaluations/{evaluation.id}/">towns</a>'),
    ):
        answer = browser.post(
            f"{at}files/{needed.id}/delete", follow=True, headers={"accept-language": language}
        )
        page = answer.content.decode()
        assert said in page
        assert link in page
    with tenant_scope(bench.tenant.id):
        assert not StoredFile.objects.exclude(deleted_at=None).exists()


def test_a_new_key_may_not_delete_or_release_models_unless_that_is_ticked(bench: Bench) -> None:
    browser, at = browse(bench)
    page = browser.get(f"{at}keys/").content.decode()
    assert f'value="{Scope.MODELS_WRITE.value}"> ' in page
    assert f'value="{Scope.TENANT_WRITE.value}"> ' in page
    assert f'value="{Scope.JOBS_WRITE.value}" checked> ' in page
    assert "delete models, and release withheld ones" in page


def test_a_model_that_is_withheld_is_nowhere_offered_to_train_on_from(bench: Bench) -> None:
    browser, at = browse(bench)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    job = bench.create()
    name = give_result(customer, job.public_id)
    with tenant_scope(bench.tenant.id):
        made = Artifact.objects.get()
        evaluation = Evaluation.objects.create(
            suite=Suite.objects.create(), file=job.training_file, base=bench.base, model=name,
            digest="d", requested={"model": name}, job=job, artifact=made, state="succeeded",
        )  # fmt: skip
    pages = [f"{at}models/{made.id}/", f"{at}jobs/new", f"{at}pipelines/new"]
    offers = ["jobs/new?model=", f'<option value="{name}"', f'<option value="{name}"']
    for page, offer in zip(pages, offers, strict=True):
        assert offer in browser.get(page).content.decode(), page
    with tenant_scope(bench.tenant.id):
        Evaluation.objects.filter(id=evaluation.id).update(withholds=True)
    for page, offer in zip(pages, offers, strict=True):
        assert offer not in browser.get(page).content.decode(), page


def test_evaluations_of_a_model_are_dated_the_newest_first(bench: Bench) -> None:
    browser, at = browse(bench)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    job = bench.create()
    name = give_result(customer, job.public_id)
    with tenant_scope(bench.tenant.id):
        made, suite = Artifact.objects.get(), Suite.objects.create()
        for day in (1, 2):
            row = Evaluation.objects.create(
                suite=suite, file=job.training_file, base=bench.base, model=name, digest="d",
                requested={"model": name}, artifact=made, state="succeeded", name=f"day {day}",
            )  # fmt: skip
            Evaluation.objects.filter(id=row.id).update(created_at=f"2026-11-0{day}T09:30Z")
    page = browser.get(f"{at}models/{made.id}/").content.decode()
    section = page.partition('id="evaluations"')[2].partition("</section>")[0]
    assert section.index("2026-11-02 09:30") < section.index("2026-11-01 09:30")
