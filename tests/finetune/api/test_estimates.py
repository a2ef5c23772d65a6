"""/api/v1/estimates, and the estimate of a held job."""

import pytest

from finetune.models import Estimate, Job
from finetune.services.jobs.validation import VALIDATE
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tests.finetune.api.customers import Customer
from tests.finetune.api.test_own import Api


def test_an_estimate_is_asked_as_a_job_is_and_starts_none(
    customer: Customer, training_file: str
) -> None:
    api = Api(customer)
    wish = {"model": "tiny", "training_file": training_file, "max_length": 64}
    made = api("post", "estimates", wish)
    assert made["id"].startswith("estimate-")
    assert made["job"] is None
    assert api("get", f"estimates/{made['id']}") == made
    with tenant_scope(customer.tenant_id):
        assert not Job.objects.exists()
        assert AuditEntry.objects.filter(action="estimate.create", target=made["id"]).count() == 1


@pytest.mark.parametrize(
    ("changes", "param"),
    [
        ({"max_length": 1}, "max_length"),
        ({"model": "nowhere"}, "model"),
        ({"hyperparameters": {"n_epochs": 0}}, "hyperparameters.n_epochs"),
        ({"adapter": {"targets": ["q_prog"]}}, "adapter.targets"),
        ({"words": 1}, "words"),
    ],
)
def test_what_a_job_is_refused_for_an_estimate_is_refused_for(
    customer: Customer, training_file: str, changes: dict[str, object], param: str
) -> None:
    wish = {"model": "tiny", "training_file": training_file} | changes
    status = 404 if param == "model" else 400
    refused = Api(customer)("post", "estimates", wish, status=status)
    assert refused["param"] == param
    with tenant_scope(customer.tenant_id):
        assert not Estimate.objects.exists()


def test_only_so_many_estimates_wait(
    customer: Customer, training_file: str, settings: pytest.FixtureRequest
) -> None:
    settings.JOBS_READ = 1  # type: ignore[attr-defined]
    wish = {"model": "tiny", "training_file": training_file}
    Api(customer)("post", "estimates", wish)
    assert Api(customer)("post", "estimates", wish, status=429)["code"] == "too_many_estimates"


def test_a_held_job_has_an_estimate_and_another_has_none(
    customer: Customer, training_file: str
) -> None:
    jobs, api = customer.client().fine_tuning.jobs, Api(customer)
    plain = jobs.create(model="tiny", training_file=training_file)
    held = jobs.create(model="tiny", training_file=training_file, extra_body={"auto_start": False})
    missing = api("get", f"jobs/{plain.id}/estimate", status=404)
    assert missing["code"] == "estimate_not_found"
    with tenant_scope(customer.tenant_id):
        key = Job.objects.order_by("-created_at").first().id  # type: ignore[union-attr]
    perform(VALIDATE, tenant_id=customer.tenant_id, key=key)
    assert jobs.retrieve(held.id).status == "paused"
    found = api("get", f"jobs/{held.id}/estimate")
    assert (found["job"], found["status"]) == (held.id, "measuring")
    assert found["trained_tokens"] > 0
    assert found["licence"]["enough"]
    assert api("get", f"estimates/{found['id']}") == found
    assert jobs.resume(held.id).status == "queued"
