"""What the APIs tell is in the language that a request asks for, and never without the figures."""

import re
from typing import Any

import httpx
import pytest

from faults import UserFault
from finetune.events import JobFailed
from finetune.models import Job
from finetune.services.jobs.steps import step
from finetune.states import JobState
from tenants.database.scope import tenant_scope
from tests.finetune.api.conftest import TINY
from tests.finetune.api.customers import Customer, chat_rows

HAN = re.compile(r"[\u4e00-\u9fff]")
CHINESE = {"accept-language": "zh-CN,zh;q=0.9,en;q=0.8"}


def words_of(answer: httpx.Response) -> str:
    told = answer.json()
    return str(told.get("error", told).get("message") or told["detail"])


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("zh-CN,zh;q=0.9", "zh-hans"),
        ("zh", "zh-hans"),
        ("fr, en;q=0.5, zh;q=0.9", "zh-hans"),
        ("de;q=0.1, xx", "en"),
        ("en-GB, zh", "en"),
        ("*", "en"),
        ("zh;q=nonsense, \u00e9", "en"),
        (None, "en"),
    ],
)
def test_the_first_language_that_is_spoken_here_is_taken(
    customer: Customer, accepted: str | None, language: str
) -> None:
    headers = {} if accepted is None else {"accept-language": accepted.encode("latin-1")}
    with customer.http() as http:
        http.cookies["django_language"] = "zh-hans"  # a person's choice for the pages
        for path in ("/v1/files/file-nothing", "/api/v1/artifacts/artifact_x", "/v1/nothing"):
            answer = http.get(path, headers=headers)
            assert answer.status_code == 404
            assert answer.headers["content-language"] == language
            assert "Accept-Language" in answer.headers["vary"]
            assert bool(HAN.search(words_of(answer))) == (language == "zh-hans"), words_of(answer)


@pytest.mark.parametrize(
    ("path", "body", "figures"),
    [
        ("/v1/fine_tuning/jobs", {"model": TINY, "training_file": "file-x", "seed": "a"}, "seed"),
        ("/v1/fine_tuning/jobs", {"model": TINY, "training_file": "file-x", "extra": 1}, "extra"),
        ("/v1/chat/completions", {"model": "nobodys", "messages": []}, "messages"),
        ("/api/v1/invitations", {"email": "no address", "role": "viewer"}, ""),
        ("/api/v1/estimates", {"model": TINY}, "training_file"),
    ],
)
def test_an_error_is_told_in_both_with_its_figures_and_the_same_code(
    customer: Customer, path: str, body: dict[str, Any], figures: str
) -> None:
    with customer.http() as http:
        own, told = http.post(path, json=body), http.post(path, json=body, headers=CHINESE)
    assert own.status_code == told.status_code >= 400
    assert not HAN.search(words_of(own))
    assert HAN.match(words_of(told)), words_of(told)
    assert figures in words_of(told)
    known = own.json().get("error", own.json())
    assert told.json().get("error", told.json())["code"] == known["code"]


def test_a_body_that_is_refused_before_it_is_read_is_told_so_too(base_url: str) -> None:
    answer = httpx.post(
        f"{base_url}/v1/chat/completions", headers=CHINESE, content=b"[" * (5 << 20)
    )
    assert answer.status_code == 413
    assert HAN.match(words_of(answer))
    plain = httpx.post(f"{base_url}/v1/chat/completions", content=b"[" * (5 << 20))
    assert not HAN.search(words_of(plain))


def test_what_a_check_found_is_told_with_its_place(customer: Customer) -> None:
    bad = b'{"messages": [{"role": "user", "content": "a"}]}\n{"messages": \n' * 2
    sent = customer.client().files.create(file=("bad.jsonl", bad), purpose="fine-tune")
    customer.check_files()
    with customer.http() as http:
        one = http.get(f"/v1/files/{sent.id}", headers=CHINESE).json()
        listed = http.get("/v1/files", headers=CHINESE).json()["data"][0]
        english = http.get(f"/v1/files/{sent.id}").json()
        (reading,) = http.get("/api/v1/datasets", headers=CHINESE).json()["data"]
    assert one["status_details"] == listed["status_details"] != english["status_details"]
    assert HAN.search(one["status_details"])
    assert not HAN.search(english["status_details"])
    problems = reading["report"]["problems"]
    assert problems
    assert all(HAN.search(each["message"]) and HAN.search(each["fix"]) for each in problems)
    assert {each["code"] for each in problems} >= {"invalid_json"}


def test_a_jobs_history_phase_and_error_are_told_so(customer: Customer, training_file: str) -> None:
    job = customer.client().fine_tuning.jobs.create(model=TINY, training_file=training_file)
    with customer.http() as http:
        shown = http.get(f"/v1/fine_tuning/jobs/{job.id}", headers=CHINESE).json()
        http.post(f"/v1/fine_tuning/jobs/{job.id}/cancel")
        events = http.get(f"/v1/fine_tuning/jobs/{job.id}/events", headers=CHINESE).json()["data"]
        english = http.get(f"/v1/fine_tuning/jobs/{job.id}/events").json()["data"]
    assert HAN.search(shown["phase"]["message"])
    assert all(HAN.search(each["message"]) for each in events)
    assert not any(HAN.search(each["message"]) for each in english)
    assert [each["code"] for each in events] == [each["code"] for each in english]


def test_the_error_that_a_job_keeps_is_told_so(customer: Customer) -> None:
    client = customer.client()
    sent = client.files.create(file=("rows.jsonl", chat_rows()), purpose="fine-tune")
    job = client.fine_tuning.jobs.create(model=TINY, training_file=sent.id)
    with tenant_scope(customer.tenant_id):
        fault = UserFault("invalid_training_file", "Line 3 is no row.", fix="Mend it.")
        why = JobFailed(error=fault.code, reason=fault.message, attempts=1)
        step(Job.objects.get(), JobState.FAILED, why, error=fault.fields())
    with customer.http() as http:
        error = http.get(f"/v1/fine_tuning/jobs/{job.id}", headers=CHINESE).json()["error"]
        own = http.get(f"/v1/fine_tuning/jobs/{job.id}").json()["error"]
    assert (error["code"], bool(HAN.match(error["message"]))) == (own["code"], True)
    assert own["message"] in error["message"], "nothing of it is lost"
