"""A pipeline's page: its stages with their losses, and a person's yes."""

from pathlib import Path

import pytest

from finetune.models import Pipeline
from tenants.database.scope import tenant_scope
from tests.finetune.api.customers import Customer
from tests.finetune.services.pipelines.test_pipelines import advance, ask, job_of, stages, succeed
from tests.fixtures.jobs import new_bench
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db


def test_a_stage_that_waits_is_approved_on_the_pipelines_page(tiny_base: Path) -> None:
    bench = new_bench(tiny_base)
    pipeline = ask(bench, "approval", "none", name="two stages")
    advance(bench, pipeline)
    succeed(bench, job_of(bench, pipeline, 1), base_valid_loss=2.5, valid_loss=1.25)
    advance(bench, pipeline)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    browser, address = browser_of(member(customer)), f"/t/{customer.slug}/pipelines/"
    assert "two stages" in browser.get(address).content.decode()
    page = browser.get(f"{address}{pipeline.id}/").content.decode()
    for shown in ("waits for approval", "2.500", "1.250", "somebody must approve", "not begun"):
        assert shown in page
    chinese = browser.get(f"{address}{pipeline.id}/", headers={"accept-language": "zh-hans"})
    assert "等待批准" in chinese.content.decode()
    assert browser.post(f"{address}{pipeline.id}/approve").status_code == 302
    assert stages(bench, pipeline)[0].approved_at is not None
    again = browser.post(f"{address}{pipeline.id}/approve", follow=True)
    assert again.status_code == 200
    with tenant_scope(bench.tenant.id):
        assert Pipeline.objects.get(id=pipeline.id).state == "waiting"
    assert browser.post(f"{address}{pipeline.id}/cancel").status_code == 302
    assert "cancelled" in browser.get(f"{address}{pipeline.id}/").content.decode()
