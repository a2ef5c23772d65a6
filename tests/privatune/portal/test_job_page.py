"""A job's page says of a result that is there when it is no good."""

from pathlib import Path

import pytest

from finetune.events import LossAtChance
from finetune.models import Artifact
from tenants.database.scope import tenant_scope
from tests.finetune.api.customers import Customer
from tests.finetune.api.rows import give_result
from tests.fixtures.jobs import new_bench
from tests.fixtures.people import browser_of, member

pytestmark = pytest.mark.django_db

WARNED = LossAtChance(end_loss=10.8102, guessing_loss=10.8027)
CHINESE = "训练结束时的损失为 10.8102，并不比在全部词元中随机猜测（10.8027）更好。"


@pytest.mark.parametrize("language", ["en", "zh-hans"])
def test_a_warning_is_told_in_the_persons_language(tiny_base: Path, language: str) -> None:
    bench = new_bench(tiny_base)
    customer = Customer(bench.tenant.id, bench.tenant.slug, key="", base_url="")
    job = bench.create()
    give_result(customer, job.public_id)
    with tenant_scope(customer.tenant_id):
        Artifact.objects.update(report={"warnings": [WARNED.entry()]})
    address = f"/t/{customer.slug}/jobs/{job.id}/"
    page = browser_of(member(customer)).get(address, headers={"accept-language": language})
    assert page.status_code == 200
    assert (CHINESE if language == "zh-hans" else WARNED.text) in page.content.decode()
    assert "loss_at_chance" in page.content.decode()
