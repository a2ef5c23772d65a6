"""Models that an evaluation withholds: no door gives them out, and what opens one is told."""

from typing import Any

import pytest
from openai import PermissionDeniedError

from finetune import selectors
from finetune.models import Artifact, Evaluation, Job
from finetune.services.evaluations.evaluating import EVALUATE
from finetune.states import JobState
from finetune.work.perform import perform
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry
from tenants.roles import ALL_SCOPES, Scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, new_customer, new_member, with_key_of
from tests.finetune.api.rows import give_result
from tests.finetune.api.test_chat import adapter as adapter  # noqa: PLC0414  the fixture
from tests.finetune.api.test_evaluations import ALWAYS, NEVER, get, post, rows, suite_file, work
from tests.finetune.api.test_evaluations import tuned as tuned  # noqa: PLC0414  the fixture

SHORT: Any = {"max_tokens": 1}


def asked(customer: Customer, model: str, **body: Any) -> Any:
    """An evaluation with a gate, as its answer."""
    wish = {"criteria": [ALWAYS], "gate": {"minimum": 1.0}, "sampling": SHORT, "examples": 0}
    return post(customer, model=model, **wish | body)


def artifact_of(customer: Customer) -> tuple[str, dict[str, Any]]:
    with tenant_scope(customer.tenant_id):
        name = Artifact.objects.get().public_id
    with customer.http() as http:
        return name, http.get(f"/api/v1/artifacts/{name}").json()


def refusal(answer: Any) -> dict[str, Any]:
    """OpenAI's addresses tell it within `error`."""
    told: dict[str, Any] = answer.json()
    return told.get("error", told)


def doors(customer: Customer, model: str) -> list[int]:
    """What each door says by which the model is asked or taken away."""
    name, _ = artifact_of(customer)
    talk: Any = {"model": model, "max_tokens": 1}
    messages = [{"role": "user", "content": "Say 1."}]
    with customer.http() as http:
        answers = [
            http.post("/v1/chat/completions", json=talk | {"messages": messages}),
            http.post("/v1/completions", json=talk | {"prompt": "Say"}),
            http.post("/v1/responses", json={"model": model, "input": "Say 1."}),
            http.get(f"/api/v1/artifacts/{name}/content"),
        ]
    for answer in answers:
        if answer.status_code == 403:
            assert refusal(answer)["code"] == "model_withheld"
    return [answer.status_code for answer in answers]


def acts(customer: Customer) -> list[str]:
    with tenant_scope(customer.tenant_id):
        return list(AuditEntry.objects.values_list("action", flat=True))


def test_a_gate_closes_every_door_until_a_person_releases_the_model(
    customer: Customer, tuned: str
) -> None:
    assert doors(customer, tuned) == [200] * 4
    file = suite_file(customer, rows(30))
    made = asked(customer, tuned, file=file, criteria=[NEVER]).json()
    assert (made["withholds"], made["settings"]["gate"]["minimum"]) == (True, 1.0)
    assert doors(customer, tuned) == [403] * 4, "from now on, before it was answered"
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert (found["state"], found["withholds"]) == ("succeeded", True)
    assert found["report"]["sides"]["model"]["score"] == 0.0
    assert doors(customer, tuned) == [403] * 4
    name, shown = artifact_of(customer)
    assert shown["withheld"] is True
    with pytest.raises(PermissionDeniedError, match="withheld"):
        customer.client().chat.completions.create(
            model=tuned, messages=[{"role": "user", "content": "Say 1."}]
        )
    with customer.http() as http:
        assert http.delete(f"/api/v1/evaluations/{made['id']}").status_code == 409
        told = http.delete(f"/v1/evals/{made['suite']}")
        assert refusal(told)["code"] == "evaluation_withholds"
        released = [http.post(f"/api/v1/artifacts/{name}/release") for _ in range(2)]
    assert [each.json()["withheld"] for each in released] == [False, False]
    assert acts(customer).count("model.release") == 1
    assert doors(customer, tuned) == [200] * 4
    with customer.http() as http:
        assert http.delete(f"/api/v1/evaluations/{made['id']}").status_code == 200


def test_a_gate_that_is_reached_opens_and_with_it_those_that_asked_the_same(
    customer: Customer, tuned: str
) -> None:
    file = suite_file(customer, rows(30))
    first = asked(customer, tuned, file=file).json()
    assert post(customer, f"/{first['id']}/cancel").json()["state"] == "cancelled"
    assert doors(customer, tuned) == [403] * 4
    weaker = asked(customer, tuned, file=file, gate={"minimum": 0.5}).json()
    work(customer)
    assert get(customer, f"/{weaker['id']}").json()["withholds"] is False
    assert doors(customer, tuned) == [403] * 4, "the first asked for more"
    asked(customer, tuned, file=file)
    work(customer)
    assert get(customer, f"/{first['id']}").json()["withholds"] is False
    assert doors(customer, tuned) == [200] * 4
    assert "model.accept" in acts(customer)


def test_the_result_of_a_job_is_withheld_before_it_is_there(
    customer: Customer, training_file: str, adapter: Any, model_server: None
) -> None:
    job = customer.client().fine_tuning.jobs.create(model=TINY, training_file=training_file)
    file = suite_file(customer, rows(30))
    made = asked(customer, job.id, file=file).json()
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert (found["state"], found["job"]) == ("waiting", job.id)
    assert found["waits_for"] == f"the job {job.id} has not ended, whose result it evaluates."
    model = give_result(customer, job.id, adapter)
    assert found["model"] == model
    assert doors(customer, model) == [403] * 4
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert (found["state"], found["withholds"]) == ("succeeded", False)
    assert doors(customer, model) == [200] * 4


def test_of_a_job_that_ends_without_a_result_nothing_is_evaluated(
    customer: Customer, training_file: str, model_server: None
) -> None:
    job = customer.client().fine_tuning.jobs.create(model=TINY, training_file=training_file)
    file = suite_file(customer, rows(30))
    made = asked(customer, job.id, file=file).json()
    with customer.http() as http:
        post(customer, f"/{made['id']}/cancel")
        assert http.delete(f"/api/v1/evaluations/{made['id']}").status_code == 409, "a gate to come"
    again = asked(customer, job.id, file=file).json()
    with tenant_scope(customer.tenant_id):
        Job.objects.update(state=JobState.FAILED)
    work(customer)
    found = get(customer, f"/{again['id']}").json()
    assert (found["state"], found["error"]["code"]) == ("failed", "job_without_result")
    refused = refusal(asked(customer, job.id, file=file))
    assert (refused["code"], refused["param"]) == ("job_without_result", "model")
    with customer.http() as http:
        assert http.delete(f"/api/v1/evaluations/{made['id']}").status_code == 200


def test_who_may_not_change_models_sets_no_gate_and_opens_none(
    customer: Customer, tuned: str, base_url: str
) -> None:
    file = suite_file(customer, rows(1))
    name, _ = artifact_of(customer)
    limited = new_customer(base_url, models=[TINY], scopes=ALL_SCOPES - {Scope.MODELS_WRITE})
    other = suite_file(limited, rows(1))
    job = limited.client().fine_tuning.jobs.create(
        model=TINY, training_file=suite_file(limited, rows(4), "fine-tune")
    )
    assert asked(limited, job.id, file=other).status_code == 403
    with limited.http() as http:
        assert http.post(f"/api/v1/artifacts/{name}/release").status_code == 403
    stranger = new_customer(base_url, models=[TINY])
    with stranger.http() as http:
        assert http.post(f"/api/v1/artifacts/{name}/release").status_code == 404
    with tenant_scope(customer.tenant_id):
        mine = selectors.jobs().get().public_id
    assert asked(stranger, mine, file=suite_file(stranger, rows(1))).status_code == 404
    assert refusal(asked(customer, tuned, file=file, beside=False))["param"] == "gate"
    assert refusal(asked(customer, TINY, file=file))["code"] == "gate_without_base"
    assert doors(customer, tuned) == [200] * 4


def test_an_answer_that_is_being_given_ends_when_its_model_is_withheld(
    customer: Customer, tuned: str
) -> None:
    """What was loaded stays in the model server's memory: the door is asked, not the memory."""
    assert doors(customer, tuned) == [200] * 4
    with tenant_scope(customer.tenant_id):
        artifact = Artifact.objects.select_related("base", "job").get()
        file = suite_file(customer, rows(30))
    made = asked(customer, tuned, file=file, criteria=[NEVER]).json()
    with tenant_scope(customer.tenant_id):
        row = Evaluation.objects.get(job=artifact.job)
    assert row.withholds
    perform(EVALUATE, tenant_id=customer.tenant_id, key=row.id)
    found = get(customer, f"/{made['id']}").json()
    assert (found["state"], found["withholds"]) == ("succeeded", True)
    assert doors(customer, tuned) == [403] * 4


def test_a_gate_that_could_never_open_is_refused_and_withholds_nothing(
    customer: Customer, tuned: str
) -> None:
    """Only the same rows open it again, so they have to be rows that can say something."""
    few = refusal(asked(customer, tuned, file=suite_file(customer, rows(29))))
    assert (few["code"], few["param"]) == ("gate_too_few_rows", "gate")
    assert "has 29 rows" in few["detail"]
    trained = suite_file(customer, rows(30), "fine-tune")
    job = customer.client().fine_tuning.jobs.create(model=TINY, training_file=trained)
    for same in (trained, suite_file(customer, rows(30))):
        assert refusal(asked(customer, job.id, file=same))["code"] == "gate_trained_on"
    assert asked(customer, job.id, file=suite_file(customer, rows(31))).json()["withholds"] is True
    assert doors(customer, tuned) == [200] * 4


def test_who_is_refused_a_withheld_model_is_told_by_which_evaluations(
    customer: Customer, tuned: str
) -> None:
    file = suite_file(customer, rows(30))
    made = [asked(customer, tuned, file=file, criteria=[each]).json() for each in (NEVER, ALWAYS)]
    work(customer)
    withholds = made[0]["id"]
    _, shown = artifact_of(customer)
    assert shown["withheld_by"] == [withholds], "the other was reached"
    with customer.http() as http:
        told = refusal(http.post("/v1/responses", json={"model": tuned, "input": "Say 1."}))
    assert withholds in told["message"]
    assert made[1]["id"] not in told["message"]


def test_only_who_may_release_a_withheld_model_may_evaluate_it(
    customer: Customer, tuned: str, base_url: str
) -> None:
    """Its answers stand in the items: up to 5,000 questions of one's own would be asking it."""
    file = suite_file(customer, rows(30))
    asked(customer, tuned, file=file, criteria=[NEVER])
    with tenant_scope(customer.tenant_id):
        job = Job.objects.get().public_id
    user, _ = new_member(customer)
    narrow = with_key_of(customer, user, {Scope.INFER, Scope.FILES_READ, Scope.MODELS_READ})
    for model in (tuned, job):
        refused = asked(narrow, model, file=file, gate=None)
        assert (refused.status_code, refusal(refused)["code"]) == (403, "missing_scope")
        assert asked(customer, model, file=file, gate=None).status_code == 200


@pytest.mark.parametrize("other", [{"sampling": {"max_tokens": 1, "temperature": 2.0}},
                                   {"sampling": {"max_tokens": 1, "seed": 7}},
                                   {"examples": 2}])  # fmt: skip
def test_a_luckier_draw_opens_no_gate_but_its_own(
    customer: Customer, tuned: str, other: dict[str, Any]
) -> None:
    file = suite_file(customer, rows(30))
    first = asked(customer, tuned, file=file).json()
    post(customer, f"/{first['id']}/cancel")
    lucky = asked(customer, tuned, file=file, **other).json()
    work(customer)
    assert get(customer, f"/{lucky['id']}").json()["withholds"] is False
    assert doors(customer, tuned) == [403] * 4
