"""The operator sees which checks and validations are stuck and with what, and nothing of whose data
they are about."""

from datetime import timedelta
from typing import Any

import pytest
from django.utils import timezone
from psycopg.errors import InsufficientPrivilege

from faults import OurFault, UserFault
from finetune.events import waits
from finetune.events.waits import BaseMissing
from finetune.models import Dataset, Validation
from finetune.services.files.checking import CHECK
from finetune.services.jobs.validation import VALIDATE
from finetune.work import leases
from finetune.work.held_up import held_up
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tests.fixtures.database import connect_as
from tests.fixtures.jobs import Bench, chat_rows, jsonl, new_bench
from tests.fixtures.people import operator_browser

CANARY = "canary4711"


@pytest.fixture
def bench(committed: None, tiny_base: Any) -> Bench:
    return new_bench(tiny_base)


def stuck_dataset(bench: Bench) -> Dataset:
    """Refused once with words of the file's, tried again, and its worker then lost."""
    file = bench.add_file(jsonl(chat_rows(2)), status="processed")
    tenant = bench.tenant.id
    with tenant_scope(tenant):
        dataset = Dataset.objects.create(
            file=file, report={"first_error": {"code": CANARY, "line": 1}}
        )
    lease = leases.claim(CHECK, tenant_id=tenant, key=dataset.id, worker="w")
    assert lease is not None
    fault = UserFault("limit_rows", f"Too many rows: {CANARY}", where=CANARY)
    leases.fail(lease, fault=fault)
    with tenant_scope(tenant):
        past = timezone.now() - timedelta(hours=1)
        Dataset.objects.filter(id=dataset.id).update(
            state="checking", lease_until=past, worker="gpu-7:12", format=CANARY[:9]
        )
    return dataset


def stuck_validation(bench: Bench) -> Validation:
    job = bench.create(suffix=CANARY, metadata={"for": CANARY})
    lease = leases.claim(VALIDATE, tenant_id=bench.tenant.id, key=job.id, worker="gpu-8:13")
    assert lease is not None
    leases.retry(lease, fault=OurFault("x", "The worker failed (KeyError)."))
    with tenant_scope(bench.tenant.id):
        return Validation.objects.get(job=job)


def test_stuck_work_is_shown_with_what_it_failed_with_and_without_content(
    bench: Bench, one_hour: None
) -> None:
    dataset, validation = stuck_dataset(bench), stuck_validation(bench)
    operator = operator_browser()
    for model, row, told in (
        ("dataset", dataset, ("checking", "gpu-7:12", "limit_rows")),
        ("validation", validation, ("waiting", "gpu-8:13", "The worker failed (KeyError).")),
    ):
        page = f"/operator/finetune/{model}/"
        for address in (page, f"{page}{row.id}/change/"):
            answer = operator.get(address)
            assert answer.status_code == 200, address
            html = answer.content.decode()
            assert [each for each in (*told, str(bench.tenant)) if each not in html] == []
            assert CANARY not in html
            assert CANARY[:9] not in html
            assert 'name="_save"' not in html
        state = "checking" if model == "dataset" else "waiting"
        assert str(row.id) in operator.get(f"{page}?state={state}").content.decode()
        assert operator.post(f"{page}{row.id}/change/", {"state": "ready"}).status_code == 403
    with tenant_scope(bench.tenant.id):
        read = AuditEntry.objects.filter(action="operator.read").values_list("target", flat=True)
        assert sorted(read) == ["dataset", "validation"]


def test_what_waits_is_listed_by_its_reason_in_the_persons_language_with_how_much(
    bench: Bench, one_hour: None
) -> None:
    for _ in range(2):
        job = bench.create()
        lease = leases.claim(VALIDATE, tenant_id=bench.tenant.id, key=job.id, worker="gpu-8:13")
        assert lease is not None
        leases.wait(lease, reason=BaseMissing(base="lamps"), seconds=60)
    told = [each for each in held_up() if each.code == "base_missing"]
    assert [(each.kind, each.count) for each in told] == [("validation of a job", 2)]
    operator = operator_browser()
    operator.cookies["django_language"] = "zh-hans"
    page = operator.get("/operator/finetune/validation/").content.decode()
    told_as = "工作机器缺少模型 `lamps`，运营方应在那里导入。"
    assert page.count(told_as) == 3  # each row, and the filter
    assert "运营方应在那里导入。 (2)" in page
    with tenant_scope(bench.tenant.id):
        rows = [str(each) for each in Validation.objects.values_list("id", flat=True)]
    for asked, shown in ((told[0].reason, 2), ("another", 0)):
        found = operator.get("/operator/finetune/validation/", {"wait_reason": asked})
        assert found.status_code == 200
        assert sum(row in found.content.decode() for row in rows) == shown


@pytest.mark.parametrize("kind", waits.WAITS.values(), ids=waits.WAITS)
def test_a_reason_is_known_by_its_words(kind: type[waits.Wait]) -> None:
    """However long: a row keeps the first of it."""
    values = {name: 5 if name == "needed" else "it" for name in kind.model_fields}
    wait = kind.model_validate(values)
    assert waits.of_text(wait.text[: waits.LONGEST]) == wait
    assert waits.of_text("The worker failed (KeyError).") is None


def test_the_role_reads_the_code_of_a_readings_error_and_not_its_words(bench: Bench) -> None:
    dataset = stuck_dataset(bench)
    with connect_as("operator") as role:
        found = "SELECT error_code, attempts FROM finetune_dataset WHERE id = %s"
        assert role.execute(found, [dataset.id]).fetchone() == ("limit_rows", 1)
    for column in ("error", "report", "file_id", "base_id", "format", "rows", "rows_object"):
        with connect_as("operator") as role, pytest.raises(InsufficientPrivilege):
            role.execute(f"SELECT {column} FROM finetune_dataset")
    with connect_as("operator") as role, pytest.raises(InsufficientPrivilege):
        role.execute("SELECT job_id FROM finetune_validation")
