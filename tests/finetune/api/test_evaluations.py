"""Evaluations over both faces: a real model server answers, a worker's own code does the work."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from uuid import uuid4

import httpx
import pytest
from openai import BadRequestError, NotFoundError, PermissionDeniedError

from finetune.grading.attempts import pass_at
from finetune.grading.criteria import EXACT, NAMED, shown
from finetune.grading.learning import Point, learning_curve, told
from finetune.models import Artifact, Dataset, Evaluation, Job
from finetune.services.evaluations import evaluating
from finetune.services.evaluations.evaluating import EVALUATE
from finetune.services.evaluations.evaluating import _keep as keep_part
from finetune.services.evaluations.lifecycle import MOST_WAITING
from finetune.services.models import patience
from finetune.work import leases, sharing
from finetune.work.perform import perform
from finetune.work.sweeping import due
from tenants.database.scope import tenant_scope
from tenants.models import AuditEntry, License, LicenseState, StoredFile
from tenants.services.licences import change_license
from tenants.services.vaults import open_vault
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, new_customer, strict
from tests.finetune.api.rows import give_result
from tests.finetune.api.test_chat import adapter as adapter  # noqa: PLC0414  the fixture

SECRET = "canary4711"
LENGTH: Any = {
    "type": "python", "name": "length", "pass_threshold": 3, "image_tag": None,
    "source": "def grade(sample, item):\n    return len(sample['output_text'])\n",
}  # fmt: skip
ALIKE: Any = {
    "type": "text_similarity", "name": "alike", "evaluation_metric": "fuzzy_match",
    "input": "{{ sample.output_text }}", "reference": "{{ item.reference }}",
    "pass_threshold": 0.1,
}  # fmt: skip
NEVER: Any = shown(EXACT) | {"name": "never", "operation": "eq", "reference": f"{SECRET}?"}
ALWAYS: Any = shown(EXACT) | {"name": "always", "operation": "ne", "reference": f"{SECRET}?"}
CONFIG: Any = {"type": "custom", "item_schema": {"type": "object"}, "include_sample_schema": True}


def suite_file(customer: Customer, rows: list[Any], purpose: Any = "evals") -> str:
    lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
    return customer.client().files.create(file=("suite.jsonl", lines), purpose=purpose).id


def rows(count: int) -> list[dict[str, Any]]:
    return [
        {
            "messages": [
                {"role": "user", "content": f"Count to {number}."},
                {"role": "assistant", "content": f"It is {number}."},
            ],
            "tags": ["even" if number % 2 == 0 else "odd", SECRET],
        }
        for number in range(count)
    ]


def work(customer: Customer) -> None:
    """Does what a worker does."""
    with tenant_scope(customer.tenant_id):
        waiting = list(Evaluation.objects.filter(state="waiting").values_list("id", flat=True))
    for row_id in waiting:
        perform(EVALUATE, tenant_id=customer.tenant_id, key=row_id)


def post(customer: Customer, path: str = "", **body: Any) -> httpx.Response:
    with customer.http() as http:
        return http.post(f"/api/v1/evaluations{path}", json=body)


def get(customer: Customer, path: str) -> Any:
    with customer.http() as http:
        answer = http.get(f"/api/v1/evaluations{path}")
    assert answer.status_code == 200, answer.text
    return answer


def evaluated(customer: Customer, **body: Any) -> dict[str, Any]:
    made = post(customer, **{"sampling": {"max_tokens": 8}} | body)
    assert made.status_code == 200, made.text
    assert made.json()["state"] == "waiting"
    work(customer)
    found: dict[str, Any] = get(customer, f"/{made.json()['id']}").json()
    return found


@pytest.fixture
def tuned(customer: Customer, training_file: str, adapter: Any, model_server: None) -> str:
    """The customer's own fine-tuned model, whose training rows are still there."""
    job = customer.client().fine_tuning.jobs.create(model=TINY, training_file=training_file)
    with tenant_scope(customer.tenant_id):
        reading = Dataset.objects.order_by("created_at").first()
        assert reading is not None
        assert reading.rows_object
        Job.objects.update(training_data=reading)
    return give_result(customer, job.id, adapter)


def test_three_sides_at_once_with_intervals_tags_items_and_a_verdict(
    customer: Customer, tuned: str
) -> None:
    points = [Point(rows, 1 + 0.5 * (rows / 1600) ** -0.3) for rows in (100, 200, 400, 800, 1600)]
    with tenant_scope(customer.tenant_id):
        Artifact.objects.update(report={"learning_curve": told(learning_curve(points))})
    file = suite_file(customer, rows(20))
    found = evaluated(
        customer, model=tuned, file=file, criteria=[ALIKE, LENGTH], examples=2, name="first"
    )
    assert (found["state"], found["error"]) == ("succeeded", None)
    assert (found["answers"], found["answers_total"]) == (60, 60)
    report = found["report"]
    sides = report["sides"]
    assert {name: side["model"] for name, side in sides.items()} == {
        "base": TINY, "base_with_examples": TINY, "model": tuned,
    }  # fmt: skip
    assert report["sides"]["base_with_examples"]["examples"] == 2
    for side in report["sides"].values():
        low, high = side["interval"]
        assert low <= side["score"] <= high
        assert side["passed"] + side["failed"] + side["errored"] == side["rows"] == 20
        assert [each["name"] for each in side["criteria"]] == ["alike", "length"]
        assert side["usage"]["completion_tokens"] > 0
    prompts = {name: side["usage"]["prompt_tokens"] for name, side in sides.items()}
    assert prompts["base"] == prompts["model"] < prompts["base_with_examples"]
    assert set(report["changes"]) == {"base", "base_with_examples"}
    assert report["advice"]["decision"] == "more_data"
    assert report["advice"]["reason"] == "too_few_rows"
    assert report["advice"]["learning_curve"]["message"].startswith("Twice the rows (3,200) would")
    curve_is_told_by_the_job(customer)
    assert sorted(found["tags"]["model"]) == sorted(["even", "odd", SECRET])
    assert found["tags"]["model"]["odd"]["rows"] == 10

    lines = get(customer, f"/{found['id']}/items").text.splitlines()
    items = [json.loads(line) for line in lines]
    assert [item["row"] for item in items] == list(range(1, 21))
    mean = sum(item["sides"]["model"]["score"] for item in items) / 20
    assert report["sides"]["model"]["score"] == pytest.approx(mean, abs=1e-5)
    answer = customer.client().chat.completions.create(
        model=tuned, messages=items[7]["input"], temperature=0, max_tokens=8
    )
    assert items[7]["sides"]["model"]["answer"] == answer.choices[0].message.content
    assert items[7]["item"]["reference"] == "It is 7."
    in_lists = get(customer, "").json()["data"]
    assert [(each["id"], each["tags"]) for each in in_lists] == [(found["id"], None)]


def test_several_answers_to_holes_are_run_against_tests_and_tell_pass_at_k(
    base_url: str, coder: str, model_server: None
) -> None:
    customer = new_customer(base_url, models=[coder])
    hole = {"prompt": "x = 1  # ", "suffix": "\ny = x\n", "tests": "assert y == 1", "reference": ""}
    row = {"prompt": "x =", "suffix": " + 1\n", "tests": "assert x == 3", "reference": " 2"}
    file = suite_file(customer, [hole, row])
    criteria = [NAMED["tests"]]
    asked: dict[str, Any] = {"model": coder, "file": file, "criteria": criteria, "samples": 3}
    refused = post(customer, **asked)
    assert (refused.status_code, refused.json()["param"]) == (400, "samples")
    sampling = {"max_tokens": 4, "temperature": 1.0, "seed": 5}
    found = evaluated(customer, **asked, sampling=sampling)
    assert (found["state"], found["error"]) == ("succeeded", None)
    items = [json.loads(line) for line in get(customer, f"/{found['id']}/items").text.splitlines()]
    passed = []
    for item in items:
        told = item["sides"]["model"]
        assert len(told["samples"]) == 3
        assert told["answer"] == told["samples"][0]["answer"]
        assert len({each["answer"] for each in told["samples"]}) > 1, "drawn apart"
        assert told["score"] == pytest.approx(sum(s["score"] for s in told["samples"]) / 3)
        passed.append(sum(each["passed"] for each in told["samples"]))
    side = found["report"]["sides"]["model"]
    assert side["samples"] == 3
    assert [each["k"] for each in side["pass_at"]] == [1, 2, 3]
    for each in side["pass_at"]:
        value = sum(pass_at(3, count, each["k"]) for count in passed) / 2
        assert each["value"] == pytest.approx(value, abs=1e-5)
    # Asked as `suffix` of /v1/completions asks: greedily the same
    greedy = evaluated(customer, model=coder, file=file, sampling={"max_tokens": 4})
    assert "pass_at" not in greedy["report"]["sides"]["model"]
    lines = get(customer, f"/{greedy['id']}/items").text.splitlines()
    answer = customer.client().completions.create(
        model=coder, prompt="x =", suffix=" + 1\n", max_tokens=4, temperature=0
    )
    assert json.loads(lines[1])["sides"]["model"]["answer"] == answer.choices[0].text


def curve_is_told_by_the_job(customer: Customer) -> None:
    with tenant_scope(customer.tenant_id):
        job = Artifact.objects.select_related("job").get().job.public_id
    with customer.http() as http:
        address = f"/api/v1/jobs/{job}/learning-curve"
        found, asked = http.get(address).json(), http.get(address, params={"loss": 1.4}).json()
        wrong = http.get(address, params={"loss": "-1"})
    assert (found["job"], found["outlook"], len(found["points"])) == (job, "falls", 5)
    assert [round(each["loss"], 3) for each in found["needed"]] == [1.425, 1.35]
    (needed,) = asked["needed"]
    assert asked | {"needed": found["needed"]} == found
    assert 1600 < needed["interval"][0] < needed["rows"] < needed["interval"][1]
    assert (wrong.status_code, wrong.json()["param"]) == (400, "loss")


def test_no_row_of_the_database_quotes_the_suite(customer: Customer, tuned: str) -> None:
    from tests.finetune.services.test_words import everything

    word = f"secret{uuid4().hex}"
    asked = {"messages": [{"role": "user", "content": word}], "tags": [word], "reference": word}
    found = evaluated(customer, model=tuned, file=suite_file(customer, [asked] * 2))
    assert found["state"] == "succeeded", found
    with tenant_scope(customer.tenant_id):
        assert [table for table, row in everything() if word in row] == []
    bad = evaluated(customer, model=tuned, file=suite_file(customer, [asked, {"x": word}]))
    assert (bad["state"], bad["error"]["code"]) == ("failed", "bad_suite_row")
    assert bad["error"]["where"] == "line 2"


def test_two_models_on_the_same_questions_are_compared_row_by_row(
    customer: Customer, tuned: str
) -> None:
    file = suite_file(customer, rows(6))
    first = evaluated(customer, model=TINY, file=file, criteria=[ALWAYS])
    assert list(first["report"]["sides"]) == ["model"], "a base has nothing beside it"
    assert "advice" not in first["report"]
    second = evaluated(customer, model=tuned, file=file, criteria=[ALWAYS], beside=False)
    told = get(customer, f"/{first['id']}/compare?with={second['id']}").json()
    assert (told["rows"], told["difference"], told["verdict"]) == (6, 0.0, "undecided")
    assert told["p_value"] == 1.0
    assert told["second"] == {"id": second["id"], "model": tuned}
    other = evaluated(customer, model=TINY, file=file, criteria=[NEVER])
    with customer.http() as http:
        path = f"/api/v1/evaluations/{first['id']}/compare"
        refused = http.get(path, params={"with": other["id"]})
        absent = http.get(path)
    assert (refused.status_code, refused.json()["code"]) == (400, "other_questions")
    assert absent.status_code == 404


def test_openais_client_makes_an_eval_runs_it_and_reads_its_items(
    customer: Customer, model_server: None
) -> None:
    client = customer.client()
    made = client.evals.create(
        name="cities", data_source_config=CONFIG, testing_criteria=[ALWAYS, ALIKE],
        metadata={"a": "b"},
    )  # fmt: skip
    strict(made)
    assert made.data_source_config.type == "custom"
    assert [each.name for each in made.testing_criteria] == ["always", "alike"]
    strict(client.evals.retrieve(made.id))
    assert [each.id for each in client.evals.list(order="asc")] == [made.id]
    renamed = client.evals.update(made.id, name="towns", metadata={"c": "d"})
    assert (renamed.name, renamed.metadata) == ("towns", {"c": "d"})

    template = [
        {"role": "developer", "content": "Be short."},
        {"role": "user", "content": {"type": "input_text", "text": "Where? {{item.city}}"}},
    ]
    run = client.evals.runs.create(
        made.id,
        name="tiny",
        data_source={
            "type": "completions", "model": TINY,
            "input_messages": {"type": "template", "template": template},  # type: ignore[typeddict-item]
            "source": {"type": "file_content", "content": [
                {"item": {"city": city, "reference": city}} for city in ("Paris", "Rome", "Bern")
            ]},
            "sampling_params": {"max_completion_tokens": 6, "temperature": 0, "seed": 3},
        },
    )  # fmt: skip
    assert (run.status, run.eval_id, run.model) == ("queued", made.id, TINY)
    work(customer)
    run = client.evals.runs.retrieve(run.id, eval_id=made.id)
    assert run.status == "completed"
    assert run.error is None
    assert run.result_counts.total == 3
    counts = run.result_counts
    assert counts.passed + counts.failed + counts.errored == 3
    assert [each.testing_criteria for each in run.per_testing_criteria_results] == [
        "always", "alike",
    ]  # fmt: skip
    (usage,) = run.per_model_usage
    assert (usage.run_model_name, usage.invocation_count) == (TINY, 3)
    assert [each.id for each in client.evals.runs.list(made.id, status="completed")] == [run.id]
    assert list(client.evals.runs.list(made.id, status="queued")) == []

    listed = client.evals.runs.output_items
    items = list(listed.list(run.id, eval_id=made.id, limit=2))
    assert [item.datasource_item["city"] for item in items] == ["Paris", "Rome", "Bern"]
    assert items[0].sample.input[1].content == "Where? Paris"
    assert items[0].sample.seed == 3
    assert items[0].results[0].passed
    assert [each.id for each in listed.list(run.id, eval_id=made.id, order="desc")] == [
        each.id for each in reversed(items)
    ]
    one = listed.retrieve(items[1].id, eval_id=made.id, run_id=run.id)
    assert one.to_dict() == items[1].to_dict()
    passed = list(listed.list(run.id, eval_id=made.id, status="pass"))
    assert len(passed) == counts.passed
    with pytest.raises(NotFoundError):
        listed.retrieve(f"{items[1].id}9", eval_id=made.id, run_id=run.id)

    assert client.evals.runs.delete(run.id, eval_id=made.id).deleted
    assert client.evals.delete(made.id).deleted
    with pytest.raises(NotFoundError):
        client.evals.retrieve(made.id)
    with tenant_scope(customer.tenant_id):
        assert list(open_vault().list("evaluations/")) == []


def test_a_run_carries_its_verdict_where_the_base_was_asked_as_well(
    customer: Customer, tuned: str
) -> None:
    """A field of ours, as are the two that ask the base."""
    client = customer.client()
    made = client.evals.create(data_source_config=CONFIG, testing_criteria=[ALWAYS])
    source: Any = {
        "type": "completions", "model": tuned, "sampling_params": {"max_completion_tokens": 4},
        "source": {"type": "file_content", "content": [
            {"item": {"question": f"Where is {city}?"}} for city in ("Rome", "Bern")
        ]},
    }  # fmt: skip
    alone = client.evals.runs.create(made.id, data_source=source)
    beside = client.evals.runs.create(made.id, data_source=source, extra_body={"beside": True})
    work(customer)
    alone = client.evals.runs.retrieve(alone.id, eval_id=made.id)
    beside = client.evals.runs.retrieve(beside.id, eval_id=made.id)
    assert alone.to_dict()["verdict"] is None
    verdict: Any = beside.to_dict()["verdict"]
    assert (verdict["decision"], verdict["reason"]) == ("more_data", "too_few_rows")
    assert verdict["message"]


def test_what_the_wire_does_not_offer_is_refused_by_its_field(customer: Customer) -> None:
    client = customer.client()
    with pytest.raises(BadRequestError) as refused:
        client.evals.create(data_source_config={"type": "logs"}, testing_criteria=[ALWAYS])
    assert refused.value.param == "data_source_config.type"
    with pytest.raises(BadRequestError) as refused:
        client.evals.create(
            data_source_config=CONFIG,
            testing_criteria=[{"type": "label_model", "name": "x"}],  # type: ignore[typeddict-item]
        )
    assert (refused.value.param or "").startswith("testing_criteria")
    made = client.evals.create(data_source_config=CONFIG, testing_criteria=[ALWAYS])
    with pytest.raises(BadRequestError) as refused:
        client.evals.runs.create(
            made.id,
            data_source={
                "type": "completions", "model": TINY, "source": {"type": "stored_completions"},
            },
        )  # fmt: skip
    assert refused.value.param == "data_source.source.type"


def test_it_is_cancelled_at_once_while_it_waits_and_soon_while_it_works(
    customer: Customer, model_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = suite_file(customer, rows(40))
    made = post(customer, model=TINY, file=file, sampling={"max_tokens": 4}).json()
    with pytest.raises(BadRequestError, match="still needs this file"):
        customer.client().files.delete(file)
    cancelled = post(customer, f"/{made['id']}/cancel")
    assert cancelled.json()["state"] == "cancelled"
    again = post(customer, model=TINY, file=file, sampling={"max_tokens": 4}).json()

    def cancel_then_keep(*args: Any) -> None:
        keep_part(*args)
        assert post(customer, f"/{again['id']}/cancel").json()["state"] == "leased"

    monkeypatch.setattr("finetune.services.evaluations.evaluating._keep", cancel_then_keep)
    work(customer)
    found = get(customer, f"/{again['id']}").json()
    assert found["state"] == "cancelled"
    assert 0 < found["answers"] < 40
    assert len(get(customer, f"/{again['id']}/items").text.splitlines()) == found["answers"]
    customer.client().files.delete(file)
    assert get(customer, f"/{again['id']}/items").text == "", "what quotes the file goes with it"


def test_a_wish_to_cancel_that_comes_with_the_last_answer_is_met(
    customer: Customer, model_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = post(customer, model=TINY, file=suite_file(customer, rows(2))).json()
    finish = evaluating._finish

    def cancelled_before(*args: Any) -> None:
        assert post(customer, f"/{made['id']}/cancel").json()["state"] == "leased"
        finish(*args)

    monkeypatch.setattr(evaluating, "_finish", cancelled_before)
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert (found["state"], found["answers"], found["report"]) == ("cancelled", 2, None)
    with tenant_scope(customer.tenant_id):
        kept = list(open_vault().list("evaluations/"))
        assert kept == Evaluation.objects.get().objects_named


def test_a_worker_that_is_lost_is_followed_by_one_that_goes_on(
    customer: Customer, model_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = suite_file(customer, rows(20))
    made = post(customer, model=TINY, file=file, sampling={"max_tokens": 4}).json()
    asked = []

    class Gone(BaseException):
        """In the place of kill -9."""

    def die_after(*args: Any) -> None:
        keep_part(*args)
        raise Gone

    with monkeypatch.context() as patched:
        patched.setattr("finetune.services.evaluations.evaluating._keep", die_after)
        with pytest.raises(Gone):
            work(customer)

    def note(lease: Any, plan: Any, vault: Any, items: Any) -> None:
        asked.extend(item["row"] for item in items)
        keep_part(lease, plan, vault, items)

    with tenant_scope(customer.tenant_id):
        row = Evaluation.objects.get()
        Evaluation.objects.update(lease_until=row.created_at)
    leases.reap(EVALUATE, tenant_id=customer.tenant_id, row_id=row.id)
    monkeypatch.setattr("finetune.services.evaluations.evaluating._keep", note)
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert found["state"] == "succeeded"
    assert asked == [17, 18, 19, 20], "the first part was kept"
    lines = get(customer, f"/{made['id']}/items").text.splitlines()
    assert [json.loads(line)["row"] for line in lines] == list(range(1, 21))


@pytest.fixture
def nothing_waits(base_url: str) -> None:
    """What other tests have left to do is due as well, and room would be made for it."""
    for left in due(EVALUATE):
        with tenant_scope(left.tenant_id):
            Evaluation.objects.filter(id=left.row_id).update(state="cancelled")


@pytest.mark.usefixtures("nothing_waits")
def test_a_long_one_makes_room_between_its_parts_for_another_tenants(
    customer: Customer, base_url: str, model_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "TURN_SECONDS", 0.0)
    monkeypatch.setattr(sharing, "ASIDE_SECONDS", 0)
    other = new_customer(base_url, models=[TINY])
    brief: Any = {"model": TINY, "sampling": {"max_tokens": 1}}
    long = post(customer, file=suite_file(customer, rows(40)), **brief).json()["id"]
    short = post(other, file=suite_file(other, rows(2)), **brief).json()["id"]
    seen = []
    for party, name in ((customer, long), (other, short), (customer, long)):
        work(party)
        found = get(party, f"/{name}").json()
        seen.append((found["state"], found["answers"]))
    assert seen == [("waiting", 16), ("succeeded", 2), ("succeeded", 40)]
    with tenant_scope(customer.tenant_id):
        assert Evaluation.objects.get().wait_reason == ""
    lines = get(customer, f"/{long}/items").text.splitlines()
    assert [json.loads(line)["row"] for line in lines] == list(range(1, 41))


@pytest.mark.usefixtures("nothing_waits")
def test_it_makes_no_room_for_who_has_one_at_work(
    customer: Customer, base_url: str, model_server: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sharing, "TURN_SECONDS", 0.0)
    other = new_customer(base_url, models=[TINY])
    brief: Any = {"model": TINY, "sampling": {"max_tokens": 1}}
    long = post(customer, file=suite_file(customer, rows(17)), **brief).json()["id"]
    for _ in range(2):
        post(other, file=suite_file(other, rows(1)), **brief)
    with tenant_scope(other.tenant_id):
        first = Evaluation.objects.order_by("created_at").first()
        assert first is not None
    lease = leases.claim(EVALUATE, tenant_id=other.tenant_id, key=first.id, worker="another")
    assert lease is not None
    work(customer)
    assert get(customer, f"/{long}").json()["state"] == "succeeded"


def test_the_licence_is_asked_when_it_is_made_and_again_when_it_begins(
    customer: Customer, model_server: None
) -> None:
    file = suite_file(customer, rows(2))
    made = post(customer, model=TINY, file=file).json()
    with tenant_scope(customer.tenant_id):
        licence = License.objects.get()
    change_license(
        tenant_id=customer.tenant_id, license_id=licence.id, actor="operator",
        state=LicenseState.REVOKED,
    )  # fmt: skip
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert found["state"] == "failed"
    assert "revoked" in found["error"]["message"]
    assert post(customer, model=TINY, file=file).status_code == 403


def test_a_key_needs_the_scopes_and_a_tenant_its_own_rows(
    customer: Customer, base_url: str, model_server: None
) -> None:
    file = suite_file(customer, rows(2))
    made = post(customer, model=TINY, file=file).json()
    with tenant_scope(customer.tenant_id):
        acts = list(AuditEntry.objects.values_list("action", flat=True))
    assert {"suite.create", "evaluation.create"} <= set(acts)
    stranger = new_customer(base_url, models=[TINY])
    with stranger.http() as http:
        for path in ("", "/items", "/compare?with=x"):
            assert http.get(f"/api/v1/evaluations/{made['id']}{path}").status_code == 404
        assert http.post(f"/api/v1/evaluations/{made['id']}/cancel").status_code == 404
    assert post(stranger, model=TINY, file=file).status_code == 404
    mine = suite_file(stranger, rows(2))
    assert post(stranger, model=TINY, file=mine, suite=made["suite"]).status_code == 404
    limited = new_customer(base_url, models=[TINY], scopes={"infer", "files:write"})
    given = suite_file(limited, rows(2))
    refused = post(limited, model=TINY, file=given)
    assert (refused.status_code, refused.json()["code"]) == (403, "missing_scope")
    reader = new_customer(base_url, scopes={"models:read"})
    with pytest.raises(PermissionDeniedError):
        reader.client().evals.create(data_source_config=CONFIG, testing_criteria=[ALWAYS])


def test_a_row_that_cannot_be_answered_is_counted_and_the_others_go_on(
    customer: Customer, model_server: None
) -> None:
    long = {"prompt": "word " * 5000, "reference": "x"}
    file = suite_file(customer, [*rows(2), long])
    found = evaluated(customer, model=TINY, file=file, criteria=[ALWAYS])
    side = found["report"]["sides"]["model"]
    assert (side["passed"], side["errored"], side["rows"]) == (2, 1, 3)
    last = json.loads(get(customer, f"/{found['id']}/items").text.splitlines()[-1])
    assert last["sides"]["model"]["error"]["code"] == "context_length_exceeded"


def test_a_judge_that_cannot_read_a_row_spoils_that_row_alone(
    customer: Customer, model_server: None
) -> None:
    judge = {
        "type": "score_model", "name": "judge", "model": TINY, "range": [1, 5],
        "input": [{"role": "user", "content": "Rate {{ item.reference }}."}],
        "sampling_params": {"seed": 7, "temperature": 1.0},
    }  # fmt: skip
    asked = [{"prompt": "a", "reference": word} for word in ("x", "word " * 5000)]
    found = evaluated(customer, model=TINY, file=suite_file(customer, asked), criteria=[judge])
    assert (found["state"], found["error"]) == ("succeeded", None)
    side = found["report"]["sides"]["model"]
    assert (side["errored"], side["rows"]) == (1, 2)
    items = [json.loads(line) for line in get(customer, f"/{found['id']}/items").text.splitlines()]
    assert 1 <= items[0]["sides"]["model"]["results"][0]["score"] <= 5
    assert items[0]["sides"]["model"]["results"][0]["tokens"][TINY] > 0
    assert "context_length_exceeded" in items[1]["sides"]["model"]["results"][0]["errors"]


def test_while_the_model_server_is_away_it_waits_and_can_be_cancelled(
    customer: Customer, monkeypatch: pytest.MonkeyPatch
) -> None:
    made = post(customer, model=TINY, file=suite_file(customer, rows(2))).json()
    plan = evaluating._plan

    def cancelled_meanwhile(*args: Any) -> Any:
        assert post(customer, f"/{made['id']}/cancel").json()["state"] == "leased"
        return plan(*args)

    monkeypatch.setattr(evaluating, "_plan", cancelled_meanwhile)
    monkeypatch.setattr(patience, "LONGEST_PAUSE", 0.1)
    work(customer)
    found = get(customer, f"/{made['id']}").json()
    assert (found["state"], found["answers"]) == ("cancelled", 0)


def test_a_suite_that_was_trained_on_praises_nothing(
    customer: Customer, tuned: str, training_file: str
) -> None:
    found = evaluated(customer, model=tuned, file=training_file, criteria=[ALIKE])
    assert found["report"]["advice"]["reason"] == "trained_on"
    with tenant_scope(customer.tenant_id):
        assert Evaluation.objects.get().suite.name == "alike"
    again = evaluated(customer, model=tuned, file=training_file, criteria=[ALIKE])
    assert again["suite"] == found["suite"], "equal criteria are one suite"


@pytest.mark.parametrize(("known", "reason"), [(3, "undecided"), (4, "trained_on")])
def test_questions_that_stand_in_the_training_rows_are_counted_whatever_their_file(
    customer: Customer, tuned: str, training_file: str, known: int, reason: str
) -> None:
    with customer.http() as http:
        trained = http.get(f"/v1/files/{training_file}/content").text.splitlines()
    asked = [json.loads(line)["messages"][-2]["content"] for line in trained][:known]
    again = [{"question": f" {text.upper()}  ", "reference": "?"} for text in asked]
    suite = suite_file(customer, again + rows(36 - known))
    found = evaluated(customer, model=tuned, file=suite, criteria=[ALWAYS])
    assert (found["report"]["rows"], found["report"]["rows_seen"]) == (36, known)
    assert found["report"]["advice"]["reason"] == reason
    customer.client().files.delete(training_file)
    again = evaluated(customer, model=tuned, file=suite, criteria=[ALWAYS])
    assert again["report"]["rows_seen"] is None, "what it was trained on is gone"


def test_scores_and_words_that_cannot_be_kept_are_the_rows_errors(
    customer: Customer, model_server: None
) -> None:
    endless: Any = {
        "type": "multi", "name": "endless", "graders": {"a": shown(EXACT)},
        "calculate_output": "1e308",
    }  # fmt: skip
    file = suite_file(customer, rows(2))
    found = evaluated(customer, model=TINY, file=file, criteria=[endless])
    assert (found["state"], found["report"]["sides"]["model"]["errored"]) == ("succeeded", 2)
    raises = "def grade(sample, item):\n    raise ValueError(chr(0xD800) + 'x' * 9000)\n"
    found = evaluated(customer, model=TINY, file=file, criteria=[LENGTH | {"source": raises}])
    assert (found["state"], found["report"]["sides"]["model"]["errored"]) == ("succeeded", 2)
    for line in get(customer, f"/{found['id']}/items").text.splitlines():
        (result,) = json.loads(line)["sides"]["model"]["results"]
        assert all(len(said) <= 500 for said in result["errors"].values())


def test_rows_of_a_refused_run_leave_no_object_behind(
    customer: Customer, model_server: None
) -> None:
    client = customer.client()
    made = client.evals.create(data_source_config=CONFIG, testing_criteria=[ALWAYS])
    source: Any = {"type": "file_content", "content": [{"item": {"prompt": "a"}}]}
    with pytest.raises(NotFoundError):
        client.evals.runs.create(
            made.id, data_source={"type": "completions", "model": "none", "source": source}
        )
    with tenant_scope(customer.tenant_id):
        assert list(open_vault().list("")) == []
        assert not StoredFile.objects.exists()


def test_names_are_of_visible_characters(customer: Customer, model_server: None) -> None:
    client = customer.client()
    for name in ("a\u202eb", "\u200b", "a\nb"):
        with pytest.raises(BadRequestError):
            client.evals.create(name=name, data_source_config=CONFIG, testing_criteria=[ALWAYS])
        with pytest.raises(BadRequestError):
            client.evals.create(
                data_source_config=CONFIG, testing_criteria=[ALWAYS | {"name": name}]
            )
        refused = post(customer, model=TINY, file=suite_file(customer, rows(1)), name=name)
        assert (refused.status_code, refused.json()["code"]) == (400, "unreadable_text")


def at_once(count: int, ask: Callable[[], httpx.Response]) -> list[int]:
    with ThreadPoolExecutor(count) as threads:
        return [each.result().status_code for each in [threads.submit(ask) for _ in range(count)]]


def test_requests_that_come_at_once_hold_to_the_limit_and_to_each_other(
    customer: Customer, model_server: None
) -> None:
    file = suite_file(customer, rows(2))
    made = at_once(MOST_WAITING + 4, lambda: post(customer, model=TINY, file=file))
    assert sorted(made) == [200] * MOST_WAITING + [429] * 4
    one, *_ = get(customer, "").json()["data"]
    with customer.http() as http:
        assert http.post(f"/api/v1/evaluations/{one['id']}/cancel").status_code == 200

    def delete() -> httpx.Response:
        with customer.http() as http:
            return http.delete(f"/api/v1/evaluations/{one['id']}")

    gone = at_once(4, delete)
    assert sum(code < 300 for code in gone) == 1
    assert sum(code == 404 for code in gone) == 3


def test_what_is_deleted_while_an_evaluation_is_made_ends_in_words(
    customer: Customer, model_server: None
) -> None:
    for number in range(4):
        file = suite_file(customer, rows(2))
        with ThreadPoolExecutor(2) as threads:
            making = threads.submit(post, customer, model=TINY, file=file)
            deleting = threads.submit(_delete, customer, file)
            codes = (making.result().status_code, deleting.result().status_code)
        assert codes in {(200, 409), (404, 200), (200, 400), (200, 422)}, (number, codes)


def _delete(customer: Customer, file: str) -> httpx.Response:
    with customer.http() as http:
        return http.delete(f"/v1/files/{file}")
