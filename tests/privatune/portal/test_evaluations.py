"""Evaluations in the portal: the form's refusals, what a page says of a report, and its acts."""

import json
import re
from typing import Any

import pytest
from django.core.files.uploadedfile import SimpleUploadedFile
from django.test import Client
from django.utils.translation import override

from finetune.grading.advice import CALLED, Reason
from finetune.models import Artifact, CatalogModel, Evaluation, Job
from finetune.states import FINAL_JOB_STATES
from privatune.portal import verdicts
from tenants.database.scope import tenant_scope
from tenants.models import StoredFile
from tenants.roles import Role
from tenants.services.vaults import open_vault
from tests.finetune.api.customers import Customer, new_customer, shelve
from tests.fixtures.people import member
from tests.privatune.portal.pages import Scene

pytestmark = pytest.mark.django_db

ROWS = b'{"prompt": "a", "reference": "b"}\n'
GRADER = {"type": "string_check", "name": "mine", "operation": "ne", "reference": "a", "input": "b"}


@pytest.fixture
def customer() -> Customer:
    shelve()
    return new_customer(models=["shelf"])


@pytest.fixture
def client(customer: Customer) -> Client:
    client = Client()
    client.force_login(member(customer))
    return client


def send(client: Client, customer: Customer, **changes: Any) -> Any:
    rows = SimpleUploadedFile("suite.jsonl", ROWS)
    form = {
        "model": "shelf", "rows": rows, "graders": ["exact", "json"], "own": "", "examples": 4,
        "max_tokens": 64, "name": "mine",
    }  # fmt: skip
    return client.post(f"/t/{customer.slug}/evaluations/new", form | changes)


def made(customer: Customer) -> list[Evaluation]:
    with tenant_scope(customer.tenant_id):
        return list(Evaluation.objects.select_related("suite", "file").order_by("created_at"))


def test_the_form_makes_a_suite_its_file_and_an_evaluation(
    client: Client, customer: Customer
) -> None:
    answer = send(client, customer, own=json.dumps(GRADER))
    (evaluation,) = made(customer)
    assert answer.status_code == 302
    assert str(evaluation.id) in answer["Location"]
    assert [each["name"] for each in evaluation.suite.criteria] == ["exact", "json", "mine"]
    assert (evaluation.file.filename, evaluation.file.purpose) == ("suite.jsonl", "evals")
    assert evaluation.requested["sampling"]["max_tokens"] == 64
    assert evaluation.name == "mine"
    again = send(client, customer, rows="", file=evaluation.file.id, own=json.dumps(GRADER))
    assert again.status_code == 302
    assert made(customer)[1].suite == evaluation.suite
    page = client.get(answer["Location"]).content.decode()
    assert "waiting for its turn" in page
    assert 'hx-trigger="every 2s"' in page


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"rows": ""}, "Choose a file, or bring in a new one."),
        ({"graders": []}, "Choose at least one."),
        ({"own": "{"}, "This is no grader in JSON."),
        ({"own": '{"type": "essay"}'}, "This is no grader in JSON."),
        ({"model": "another"}, "another is not one of the available choices"),
        ({"examples": 17}, "less than or equal to 16"),
        ({"samples": 5, "temperature": 0}, "At 0 several answers are one and the same."),
    ],
)
def test_what_cannot_be_started_is_said_and_leaves_nothing(
    client: Client, customer: Customer, changes: dict[str, Any], told: str
) -> None:
    answer = send(client, customer, **changes)
    assert answer.status_code == 200
    assert told in answer.content.decode()
    assert made(customer) == []
    with tenant_scope(customer.tenant_id):
        assert not StoredFile.objects.exists()


@pytest.mark.parametrize(
    ("typed", "samples", "temperature"),
    [({}, 1, 0.0), ({"samples": 5}, 5, 0.8), ({"samples": 5, "temperature": 1}, 5, 1.0),
     ({"temperature": 0.3}, 1, 0.3)],
)  # fmt: skip
def test_several_answers_to_a_question_are_drawn_at_a_temperature(
    client: Client, customer: Customer, typed: dict[str, Any], samples: int, temperature: float
) -> None:
    place = send(client, customer, **typed)["Location"]
    (evaluation,) = made(customer)
    assert evaluation.requested["samples"] == samples
    page = client.get(place).content.decode()
    assert (f"<dt>Answers to each question</dt><dd>{samples}</dd>" in page) == (samples > 1)
    assert (f"<dd>{temperature}</dd>" in page) == (temperature > 0)
    assert evaluation.requested["sampling"]["temperature"] == temperature


def test_it_is_cancelled_and_deleted_by_its_buttons(client: Client, customer: Customer) -> None:
    place = send(client, customer)["Location"]
    assert 'id="attempts"' not in client.get(place).content.decode()
    tried = [
        {"k": 5, "value": 0.25, "interval": [0.125, 0.5]},
        {"k": 9, "value": 1, "interval": None},
    ]
    side = {"rows": 1, "score": 0.2, "interval": None, "passed": 0, "errored": 0, "pass_at": tried}
    with tenant_scope(customer.tenant_id):
        Evaluation.objects.update(report={"rows": 1, "sides": {"model": side}, "changes": {}})
    page = client.get(place).content.decode()
    assert 'id="attempts"' in page
    assert "0.125 – 0.500" in page
    CatalogModel.objects.update(infilling="qwen")
    licences = f"/t/{customer.slug}/licences/"
    assert "fills in the middle" in client.get(licences).content.decode()
    CatalogModel.objects.update(infilling="")
    assert "fills in the middle" not in client.get(licences).content.decode()
    client.post(f"{place}cancel")
    assert [each.state for each in made(customer)] == ["cancelled"]
    assert client.post(f"{place}delete")["Location"].endswith("/evaluations/")
    assert made(customer) == []


def test_every_decision_and_reason_has_its_words_in_both_languages() -> None:
    assert {each: str(words) for each, (words, _) in verdicts.DECISIONS.items()} == CALLED
    assert set(verdicts.REASONS) == set(Reason)
    report = {"advice": {"decision": "do_not", "reason": "no_gain"}}
    with override("zh-hans"):
        found = verdicts.verdict(report)
        assert found is not None
        assert str(found["words"]) == "不值得投入使用"
    assert verdicts.verdict({}) is None


def test_a_difference_has_a_colour_only_where_its_interval_leaves_zero_out() -> None:
    side = {"rows": 40, "score": 0.5, "interval": [0.4, 0.6], "passed": 20, "errored": 0}

    def colour(low: float, high: float) -> str:
        change = {"difference": 0.1, "interval": [low, high], "p_value": 0.1}
        report = {"sides": {"base": side, "model": side}, "changes": {"base": change}}
        return verdicts.lines(report)[0].colour

    assert [colour(0.1, 0.2), colour(-0.1, 0.2), colour(-0.2, -0.1)] == ["green", "", "red"]
    (line,) = verdicts.lines({"sides": {"model": side | {"interval": None}}})
    assert (line.within, line.change, line.width) == ("–", "", 0.5)


def test_a_chinese_page_has_no_english_role_or_full_stop() -> None:
    scene = Scene()
    scene.client.cookies["django_language"] = "zh-hans"
    html = scene.client.get(dict(scene.rooms())["evaluation"]).content.decode()
    assert "<dt>用户</dt>" in html
    assert "<dt>user</dt>" not in html
    verdict = html.split('id="verdict"')[1].split("</div>")[0]
    assert "值得投入使用</strong>" in verdict
    assert not re.search(r"\.(?!\d)", verdict)


def test_criteria_are_told_in_the_persons_language_and_an_unnamed_evaluation_by_what_it_asks(
    client: Client, customer: Customer
) -> None:
    place = send(client, customer, own=json.dumps(GRADER), name="")["Location"]
    client.cookies["django_language"] = "zh-hans"
    page = client.get(place).content.decode()
    for told in ("与参考答案逐字相同", "mine"):
        assert f"<div>{told}</div>" in page
    assert "<div>exact" not in page
    for shown in (page, client.get(f"/t/{customer.slug}/evaluations/").content.decode()):
        assert "suite.jsonl · shelf" in shown


def test_what_is_asked_of_tuned_models_alone_is_named_to_the_page(
    client: Client, customer: Customer
) -> None:
    page = client.get(f"/t/{customer.slug}/evaluations/new").content.decode()
    (bases,) = re.findall(r'id="bases" type="application/json">(.*?)</script>', page)
    assert json.loads(bases) == ["shelf"]
    asked = page.split('id="of-tuned-models"')[1].split("</fieldset>")[0]
    assert re.findall(r'name="(\w+)"', asked) == ["examples", "gate"]
    without = send(client, customer, examples="")  # as a browser sends what is hidden
    assert without.status_code == 302
    assert made(customer)[0].requested["examples"] == 0


def test_tags_stand_with_their_sides_together() -> None:
    side = {"rows": 4, "score": 0.5, "interval": [0.4, 0.6], "passed": 2, "errored": 0}
    found = verdicts.tag_lines({"model": {"a": side, "b": side}, "base": {"b": side, "a": side}})
    assert [line.tag for line in found] == ["b", "b", "a", "a"]


@pytest.mark.parametrize("bad", ["\\u0000", "\\ud800", "\\u202e"])
def test_a_grader_whose_text_no_database_keeps_is_refused_beside_its_field(
    client: Client, customer: Customer, bad: str
) -> None:
    own = json.dumps(GRADER | {"name": "BAD"}).replace("BAD", f"a{bad}b")
    answer = send(client, customer, own=own)
    assert answer.status_code == 200
    assert "This is no grader in JSON." in answer.content.decode()
    assert made(customer) == []


def test_rows_of_a_refused_form_leave_no_object_behind(client: Client, customer: Customer) -> None:
    answer = send(client, customer, name="a\u202eb")
    assert answer.status_code == 200
    with tenant_scope(customer.tenant_id):
        assert list(open_vault().list("")) == []
        assert not StoredFile.objects.exists()


def withholding(role: Role) -> tuple[Scene, Client]:
    """The scene whose evaluation withholds its model, and somebody of that role."""
    scene = Scene()
    with tenant_scope(scene.customer.tenant_id):
        job = scene.done
        Evaluation.objects.update(job=job, withholds=True)
    client = Client()
    client.force_login(member(scene.customer, role))
    return scene, client


def test_a_withheld_model_says_so_and_is_released_by_its_button() -> None:
    scene, client = withholding(Role.ENGINEER)
    rooms = dict(scene.rooms())
    page = client.get(rooms["model"]).content.decode()
    assert 'id="withheld"' in page
    assert rooms["evaluation"] in page.partition('id="withheld"')[2].partition("</div>")[0]
    assert "/download" not in page
    assert 'id="chat"' not in page
    assert "withheld" in client.get(rooms["models"]).content.decode()
    assert 'id="withholds"' in client.get(rooms["evaluation"]).content.decode()
    refused = client.get(f"{rooms['model']}download")
    assert refused.status_code == 403
    assert "This model is withheld" in refused.content.decode()
    asked = client.post(f"{rooms['model']}chat", {"prompt": "a", "which": "tuned"})
    assert asked.status_code == 403
    assert "This model is withheld" in asked.content.decode()
    assert client.post(f"{rooms['evaluation']}delete").status_code == 302
    assert made(scene.customer), "its gate would be gone"
    client.post(f"{rooms['model']}release")
    page = client.get(rooms["model"]).content.decode()
    assert 'id="withheld"' not in page
    assert "/download" in page


def test_a_viewer_sees_that_a_model_is_withheld_and_releases_none() -> None:
    scene, client = withholding(Role.VIEWER)
    model = dict(scene.rooms())["model"]
    page = client.get(model).content.decode()
    assert 'id="withheld"' in page
    assert "/release" not in page
    assert client.post(f"{model}release").status_code == 403
    with tenant_scope(scene.customer.tenant_id):
        assert Evaluation.objects.filter(withholds=True).exists()


def test_the_result_of_a_job_under_way_is_judged_and_withheld_by_the_form() -> None:
    scene = Scene()
    client = Client()
    client.force_login(member(scene.customer))
    with tenant_scope(scene.customer.tenant_id):
        job = Job.objects.exclude(state__in=FINAL_JOB_STATES).first()
        assert job is not None
        Evaluation.objects.all().delete()
    few = send(client, scene.customer, model=job.public_id, gate="deploy")
    assert "The gate could never open" in few.content.decode()
    assert not made(scene.customer)
    rows = SimpleUploadedFile("suite.jsonl", ROWS * 30)
    answer = send(client, scene.customer, model=job.public_id, gate="deploy", rows=rows)
    assert answer.status_code == 302, answer.content.decode()
    (evaluation,) = made(scene.customer)
    assert (evaluation.job_id, evaluation.withholds) == (job.id, True)
    assert evaluation.requested["gate"]["verdict"] == "deploy"
    page = client.get(answer["Location"]).content.decode()
    assert "waiting for the end of the job" in page


@pytest.fixture
def answered() -> Scene:
    """45 questions in two parts: of each ten, the model fails the third and the base the second
    and third."""
    scene = Scene()
    parts = []
    with tenant_scope(scene.customer.tenant_id):
        vault = open_vault()
        for number, rows in enumerate((range(1, 26), range(26, 46))):
            name = f"evaluations/many-{number}"
            vault.put_bytes(name, b"".join(_line(row) for row in rows))
            parts.append({"name": name, "rows": len(rows), "bytes": 9})
        Evaluation.objects.filter(id=scene.evaluation.id).update(parts=parts)
    return scene


def _line(row: int) -> bytes:
    def side(passed: bool) -> dict[str, Any]:
        return {"answer": "on", "error": None, "passed": passed, "errored": False}

    item = {
        "row": row, "tags": [], "item": {"reference": "on"},
        "input": [{"role": "user", "content": f"lamp {row}?"}],
        "sides": {"base": side(row % 10 not in (2, 3)), "model": side(row % 10 != 3)},
    }  # fmt: skip
    return json.dumps(item).encode() + b"\n"


def rows_on(scene: Scene, query: str) -> list[int]:
    page = scene.client.get(f"/t/{scene.customer.slug}/evaluations/{scene.evaluation.id}/?{query}")
    assert page.status_code == 200
    return [int(row) for row in re.findall(r'id="row-(\d+)"', page.content.decode())]


def test_every_answer_is_on_a_page_and_the_wrong_ones_or_those_that_differ_alone(
    answered: Scene,
) -> None:
    assert rows_on(answered, "") == list(range(1, 21))
    assert rows_on(answered, "page=2") == list(range(21, 41))
    assert rows_on(answered, "page=3") == list(range(41, 46))
    assert rows_on(answered, "show=wrong") == [3, 13, 23, 33, 43]
    assert rows_on(answered, "show=differ") == [2, 12, 22, 32, 42]
    assert rows_on(answered, "show=differ&page=2") == []
    for odd in ("show=nothing", "page=0", "page=-1", "page=x", "page=99999999999999"):
        assert rows_on(answered, odd) == list(range(1, 21)), odd


def test_a_page_of_answers_leads_to_the_next_and_says_each_sides_outcome(answered: Scene) -> None:
    address = f"/t/{answered.customer.slug}/evaluations/{answered.evaluation.id}/"
    first = answered.client.get(address).content.decode()
    assert 'href="?show=all&amp;page=2#items"' in first
    assert "1 – 20 / 45" in first
    last = answered.client.get(f"{address}?page=3").content.decode()
    assert "page=4" not in last
    assert 'href="?show=all&amp;page=2#items"' in last
    differ = answered.client.get(f"{address}?show=differ").content.decode()
    assert 'bg-yellow-lt">base: wrong</span>' in differ
    assert 'bg-green-lt">your model: right</span>' in differ
    chinese = answered.client.get(f"{address}?show=wrong", headers={"accept-language": "zh-hans"})
    assert "各方不一致" in chinese.content.decode()


def test_what_can_be_evaluated_is_offered_the_newest_model_first(answered: Scene) -> None:
    """Results of jobs under way come last, and no picture is among the questions."""
    with tenant_scope(answered.customer.tenant_id):
        newest = Artifact.objects.order_by("-created_at").values_list("model_name", flat=True)
        for name, purpose in (("lamp.png", "user_data"), ("more.jsonl", "user_data")):
            StoredFile.objects.create(
                filename=name, purpose=purpose, bytes=9, sha256="0", object_name=name,
                status="processed",
            )  # fmt: skip
        names = list(newest)
    page = answered.client.get(f"/t/{answered.customer.slug}/evaluations/new").content.decode()
    offered = page.partition('name="model"')[2].partition("</select>")[0]
    values = re.findall(r'<option value="([^"]+)"', offered)
    assert values[: len(names)] == names
    assert values[len(names)] == "shelf"
    assert values[-1].startswith("ftjob-")
    files = page.partition('name="file"')[2].partition("</select>")[0]
    assert "more.jsonl" in files
    assert "lamp.png" not in files
    assert "bad.jsonl" not in files, "its check found it unusable"
    with tenant_scope(answered.customer.tenant_id):
        CatalogModel.objects.update(family="embedding")
    page = answered.client.get(f"/t/{answered.customer.slug}/evaluations/new").content.decode()
    assert "<option" not in page.partition('name="model"')[2].partition("</select>")[0]
    assert re.search(r"good\.jsonl · \d+ rows · conversations · [^<]+ · \d{4}-\d\d-\d\d", files)
